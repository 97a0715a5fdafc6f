"""The databases that are measured: one of `STORES`, or any that has an address.

What is chosen is told to child processes by the environment, so that all use the same. An address
may have `{name}` in it, in whose place each measurement has a name of its own: then each has a
database that is new and empty.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from uuid import uuid4

from rewake.hosts.databases import Address, create_database
from tests.bench import machine

DB, BLOBS = "REWAKE_BENCH_DB", "REWAKE_BENCH_BLOBS"
"""The variables that tell what is chosen: addresses, perhaps with `{name}`."""

_PEERS = "peers"

Server = Callable[[], AbstractContextManager[Mapping[str, str]]]
"""Starts what a store needs; gives the variables, with those of its driver."""


@contextmanager
def _postgres() -> Iterator[Mapping[str, str]]:
    """A PostgreSQL server of our own, which syncs each commit; a schema for each measurement.

    Harnesses of other systems have a database on it.
    """
    from tests.support.postgres import Cluster  # noqa: PLC0415 - only where it is asked for

    cluster = Cluster.start(durable=True)
    try:
        with cluster.connected() as connection:
            connection.execute(f"CREATE DATABASE {_PEERS}")
        peers = cluster.address("", _PEERS).partition("?")[0].partition("://")[2]
        yield {
            DB: cluster.address("{name}"),
            "BENCH_DB": "postgres",
            "BENCH_PG_URL": f"postgresql+psycopg://{peers}",
        }
    finally:
        cluster.end()


@contextmanager
def _dynamodb() -> Iterator[Mapping[str, str]]:
    """DynamoDB and S3 of an emulator: what is measured is this process, not the service."""
    from tests.support.aws import aws, bucket_name, table_name  # noqa: PLC0415 - boto3 is an extra

    table, bucket = table_name(), bucket_name()
    where = {DB: f"dynamodb://{table}/{{name}}", BLOBS: f"s3://{bucket}/{{name}}"}
    yield {**aws().environ(), **where}


STORES: Mapping[str, Server] = {
    "sqlite": lambda: nullcontext({DB: ""}),
    "postgres": _postgres,
    "dynamodb": _dynamodb,
}
"""Each store, by name."""


@contextmanager
def chosen(name: str, blobs: str = "") -> Iterator[None]:
    """Measure this store while the block runs: one of `STORES`, or an address."""
    server = STORES.get(name, lambda: nullcontext({DB: name, BLOBS: blobs}))
    with server() as variables:
        kept = {each: os.environ.get(each) for each in variables}
        os.environ.update(variables)
        try:
            yield
        finally:
            for each, value in kept.items():
                os.environ.pop(each)
                if value is not None:
                    os.environ[each] = value


def is_sqlite() -> bool:
    """Whether the store that is measured is a SQLite file."""
    return not os.environ.get(DB)


@contextmanager
def new() -> Iterator[Address]:
    """The address of a database that is made for one measurement."""
    if is_sqlite():
        with tempfile.TemporaryDirectory(dir=machine.folder()) as folder:
            yield Address(str(Path(folder) / "rewake.db"))
        return
    name = f"bench{uuid4().hex[:8]}"
    db, blobs = (os.environ.get(each, "").replace("{name}", name) for each in (DB, BLOBS))
    address = Address(db, blobs)
    _create(address)
    yield address


def _create(address: Address) -> None:
    # In a thread of its own: who measures may have an event loop.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(lambda: asyncio.run(create_database(address))).result()

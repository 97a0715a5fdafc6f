"""PostgreSQL as a database: `rewake.stores.postgres.place` has its address.

Its driver is an extra, and imported once somebody names such a database.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from rewake.errors import ConfigError
from rewake.hosts.databases import Database, Reader


def open_to_serve(place: str, blobs: str) -> Database:
    """The tables, which are not made here. Raises `StoreUnsuitable` if they are not there."""
    table = _opening(blobs).open_table(place)
    return Database(table, table)


open_existing = open_to_serve


def open_to_read(place: str, blobs: str) -> Reader:
    """The same, of which nothing changes; each read is whole."""
    table = _opening(blobs).open_table(place, reads_only=True)
    return Reader(table, table, lambda: False, table)


async def create(place: str, blobs: str) -> list[str]:
    """Make what is missing. Returns what that was. Raises `StoreError`."""
    made: list[str] = _opening(blobs).create(place)
    return made


async def check(place: str, blobs: str) -> list[str]:
    """What does not fit, a line each. Raises as `open_existing` does."""
    wrong: list[str] = _opening(blobs).check(place)
    return wrong


def schema_of(place: str) -> str:
    """The schema that an address names. Raises `ConfigError`."""
    schema: str = _opening("").place_of(place).schema
    return schema


def _opening(blobs: str) -> Any:
    if blobs:
        raise ConfigError("PostgreSQL keeps large values itself: REWAKE_BLOBS is for others")
    try:
        return import_module("rewake.stores.postgres.opening")
    except ImportError as error:
        told = "PostgreSQL needs its driver: pip install 'rewake[postgres]'"
        raise ConfigError(f"{told} ({error})") from error

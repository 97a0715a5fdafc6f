"""Where the data of a deployment is: what its servers are told of it, while it is there."""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from unittest import mock
from uuid import uuid4

import pytest

LEASE = 1.0
"""Seconds after which a dead server is noticed."""
KEYS = f"k1:{b64encode(bytes(32)).decode()}"
"""What encrypts the data of users."""
PAUSE = 2.5
"""Seconds that a server stands still: longer than its lease, and than others take to be sure."""

Settings = Mapping[str, object]
"""`REWAKE_*` settings, by their names in lower case."""
Place = Callable[[Path], AbstractContextManager[Settings]]
"""Where the data is: what a deployment's servers are told of it, while it is there."""


@contextmanager
def a_file(folder: Path) -> Iterator[Settings]:
    """A SQLite file."""
    yield {"db": folder / "rewake.db"}


@contextmanager
def a_schema(folder: Path) -> Iterator[Settings]:
    """A schema of a PostgreSQL server of our own."""
    from tests.support.postgres import binaries, cluster  # noqa: PLC0415 - its driver is an extra

    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed")
    with cluster().schema() as address:
        yield {"db": address}


@contextmanager
def a_table(folder: Path) -> Iterator[Settings]:
    """A part of a DynamoDB table and of a bucket, as AWS has them on this machine."""
    from tests.support.aws import aws, bucket_name, table_name  # noqa: PLC0415 - boto3 is an extra

    with mock.patch.dict(os.environ, aws().environ()):
        app = uuid4().hex
        yield {"db": f"dynamodb://{table_name()}/{app}", "blobs": f"s3://{bucket_name()}/{app}"}


@contextmanager
def a_queue(folder: Path) -> Iterator[Settings]:
    """A queue beside a table."""
    import boto3  # noqa: PLC0415

    with a_table(folder) as table:
        name, sqs = f"work-{uuid4().hex}", boto3.client("sqs")
        for each in (name, f"{name}-dead"):
            sqs.create_queue(QueueName=each)
        sqs.close()
        yield {**table, "queue": name}


@contextmanager
def a_file_and_a_queue(folder: Path) -> Iterator[Settings]:
    """A queue beside a SQLite file."""
    from tests.support.queues import two_queues  # noqa: PLC0415

    with two_queues() as (name, _), a_file(folder) as file:
        yield {**file, "queue": name}

"""Where the data of a deployment is: what its servers are told of it, while it is there."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from uuid import uuid4

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
def a_table(folder: Path) -> Iterator[Settings]:
    """A part of a DynamoDB table and of a bucket, as AWS has them on this machine."""
    from tests.support.aws import bucket_name, table_name  # noqa: PLC0415 - boto3 is an extra

    app = uuid4().hex
    yield {"db": f"dynamodb://{table_name()}/{app}", "blobs": f"s3://{bucket_name()}/{app}"}

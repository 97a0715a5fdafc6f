"""Where the data of a deployment is: what its servers are told of it, while it is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

Settings = Mapping[str, object]
"""`REWAKE_*` settings, by their names in lower case."""


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

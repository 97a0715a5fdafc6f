"""AWS on this machine: `ministack`, which speaks as its services do, in an environment of its own.

It pins another botocore than ours, so it is installed beside, once, and on demand. It is started
once a process, on a free port of 127.0.0.1, and ended with that. It neither throttles nor lags nor
loses an answer: tests that are about that inject it.

`REWAKE_TEST_DYNAMODB=http://...` names another endpoint for tables, such as DynamoDB Local.
"""

from __future__ import annotations

import atexit
import fcntl
import functools
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import pytest

from tests.support.stores import WholeTable

VERSION = "1.5.33"
"""Pinned: it is young, and changes often."""
VENV = Path(__file__).parents[2] / ".venv-ministack"
PATIENCE = 60.0
SETTINGS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}
"""What a process needs beside the endpoints. DynamoDB Local wants keys of letters and digits."""


class Aws(NamedTuple):
    """Where the services are."""

    url: str
    dynamodb: str

    def environ(self) -> dict[str, str]:
        """The variables by which a process finds it."""
        urls = {"AWS_ENDPOINT_URL": self.url, "AWS_ENDPOINT_URL_DYNAMODB": self.dynamodb}
        return {**SETTINGS, **urls}


@functools.cache
def aws() -> Aws:
    """AWS, for this process and those that it starts. Skips the test if it cannot be had."""
    url = started()
    found = Aws(url, os.environ.get("REWAKE_TEST_DYNAMODB", url))
    os.environ.update(found.environ())
    return found


@functools.cache
def table_name() -> str:
    """A table of DynamoDB that is this process's alone, made as `rewake tables create` does."""
    aws()
    from rewake.aws.account import Account  # noqa: PLC0415 - only where boto3 is wanted
    from rewake.stores.dynamodb.setup import create_table  # noqa: PLC0415

    name = f"rewake-{uuid4().hex}"
    create_table(Account(), name)
    return name


@functools.cache
def bucket_name() -> str:
    """A bucket that is this process's alone, made as `rewake tables create` does."""
    aws()
    from rewake.aws.account import Account  # noqa: PLC0415
    from rewake.stores.s3.bucket import create_bucket  # noqa: PLC0415

    name = f"rewake-{uuid4().hex}"
    create_bucket(Account(), name)
    return name


def whole_table() -> WholeTable:
    """An empty table, with a shelf: a part of both that nobody else has."""
    name, bucket, app = table_name(), bucket_name(), uuid4().hex[:8]
    from tests.support.dynamodb import WholeDynamoTable  # noqa: PLC0415

    return WholeDynamoTable(name, bucket, app)


def started(**settings: str) -> str:
    """The address of a ministack that was started for this process, with these settings."""
    program = _installed()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
    process = subprocess.Popen(
        [program],
        env={**kept, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port), **settings},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    atexit.register(_end, process)
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        assert process.poll() is None, f"ministack ended with {process.returncode}"
        with suppress(OSError):
            urllib.request.urlopen(f"{url}/_ministack/health", timeout=5).close()
            return url
        time.sleep(0.05)
    raise AssertionError("ministack does not get ready")


def _installed() -> Path:
    """The program, installed if it is not there yet."""
    program = VENV / "bin" / "ministack"
    with alone():
        if not program.exists():
            try:
                for command in (
                    [sys.executable, "-m", "venv", "--clear", str(VENV)],
                    [str(VENV / "bin" / "pip"), "install", "-q", f"ministack=={VERSION}"],
                ):
                    subprocess.run(command, check=True, capture_output=True, timeout=600)
            except (OSError, subprocess.SubprocessError) as error:
                pytest.skip(f"ministack cannot be installed: {error}")
    return program


@contextmanager
def alone() -> Iterator[None]:
    """Of several processes that test, one installs what all of them use."""
    lock = os.open(Path(__file__).parent, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()

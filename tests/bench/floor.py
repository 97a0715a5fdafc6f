"""The floor: what this disk, this SQLite and this HTTP server cost with no Rewake in between."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import aiohttp

from tests.bench import children, durability, machine

_SCHEMA = (
    "CREATE TABLE items (run TEXT, sort TEXT, body BLOB, PRIMARY KEY (run, sort)) WITHOUT ROWID"
)
_INSERT = "INSERT INTO items VALUES ('run', ?, ?)"
_BODY = b"x" * 1024


def append(count: int = 500) -> float:
    """Milliseconds of appending 4 KiB to a file and syncing it, median."""
    with tempfile.TemporaryFile(dir=machine.folder(), buffering=0) as file:

        def write(_: int) -> None:
            file.write(b"x" * 4096)
            os.fsync(file.fileno())

        return _median(count, write)


def commit(count: int = 200) -> float:
    """Milliseconds of one SQLite commit (WAL, synchronous FULL) of a 1 KiB row, median."""
    with _database() as database:

        def write(number: int) -> None:
            database.execute("BEGIN IMMEDIATE")
            database.execute(_INSERT, (f"{number:08d}", _BODY))
            database.execute("COMMIT")

        write(-1)
        return _median(count, write)


def post(count: int = 500) -> float:
    """Milliseconds of an empty POST to uvicorn over one connection, median."""
    return asyncio.run(_post(count))


@contextmanager
def _database() -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(dir=machine.folder()) as folder:
        path = Path(folder) / "floor.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
            durability.demand(durability.settings_of([database]))
            database.execute(_SCHEMA)
            yield database


def _median(count: int, work: Callable[[int], object]) -> float:
    times = []
    for number in range(count):
        began = time.perf_counter()
        work(number)
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def _post(count: int) -> float:
    port = children.free_port()
    command = [sys.executable, "-m", "uvicorn", "tests.bench.floor:empty", "--port", str(port)]
    quiet = ["--log-level", "warning", "--no-access-log", "--lifespan", "off"]
    with children.running([*command, *quiet]):
        url = f"http://127.0.0.1:{port}/"
        async with aiohttp.ClientSession() as session:
            await children.answering(session, url)
            return await _median_post(session, url, count)


async def _median_post(session: aiohttp.ClientSession, url: str, count: int) -> float:
    times = []
    for _ in range(count):
        began = time.perf_counter()
        async with session.post(url) as response:
            await response.read()
        times.append(time.perf_counter() - began)
    return statistics.median(times) * 1000


async def empty(
    scope: dict[str, object],
    receive: Callable[[], Awaitable[object]],
    send: Callable[[dict[str, object]], Awaitable[None]],
) -> None:
    """An ASGI app that answers everything with nothing."""
    await receive()
    headers = [(b"content-length", b"0")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


def import_time(repeat: int = 9) -> float:
    """Milliseconds that `import rewake` adds to a bare interpreter, median of pairs."""
    pairs = [_seconds("import rewake") - _seconds("pass") for _ in range(repeat)]
    return statistics.median(pairs) * 1000


def _seconds(program: str) -> float:
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program], check=True, env=children.environment())
    return time.perf_counter() - began

"""The log beside a SQLite file, which SQLite calls the WAL."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from rewake.ledger import View
from rewake.stores.keys import VIEWS, view_key
from rewake.stores.sqlite.file import LOG_BYTES
from rewake.stores.sqlite.reader import SqliteReader
from rewake.stores.sqlite.table import SqliteTable


def size_of_log(file: Path) -> Callable[[], int]:
    return lambda: Path(f"{file}-wal").stat().st_size


def test_a_log_that_a_long_reader_let_grow_becomes_small_again(tmp_path: Path) -> None:
    """A backup or a curious person may read for an hour; afterwards the disk is free again."""
    file = tmp_path / "a.db"
    log = size_of_log(file)

    async def work() -> None:
        table = SqliteTable(file, durable=False)
        try:
            with closing(sqlite3.connect(file, isolation_level=None)) as reader:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM items").fetchone()
                for n in range(12):
                    await table.put_blob("r", str(n), os.urandom(1_000_000))
                assert log() > LOG_BYTES
                reader.execute("COMMIT")
            for n in range(12, 15):
                await table.put_blob("r", str(n), b"small")
            assert log() <= LOG_BYTES
        finally:
            await table.close()

    asyncio.run(work())


def test_readers_of_ours_do_not_let_it_grow(tmp_path: Path) -> None:
    """Whoever reads in pages, also from another process, holds no old state between two pages."""
    file = tmp_path / "a.db"
    log = size_of_log(file)

    async def work() -> None:
        table = SqliteTable(file, durable=False)
        for n in range(40):
            view = View(f"r{n}", "main", n)
            await table.put(view_key(view), view)
        other, cursors = SqliteReader(file), dict[str, str | None]()
        try:
            for n in range(30):
                for reader in (table, other):
                    name = type(reader).__name__
                    page = await reader.query(VIEWS, limit=1, cursor=cursors.get(name))
                    assert page.cursor
                    cursors[name] = page.cursor
                    await reader.due(n, limit=1)
                await table.put_blob("r", str(n), os.urandom(1_000_000))
                assert log() <= LOG_BYTES
        finally:
            await other.close()
            await table.close()

    asyncio.run(work())

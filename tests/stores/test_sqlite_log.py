"""The log beside a SQLite file, which SQLite calls the WAL."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from pathlib import Path

from rewake.stores.sqlite.file import LOG_BYTES
from rewake.stores.sqlite.table import SqliteTable


def test_a_log_that_a_long_reader_let_grow_becomes_small_again(tmp_path: Path) -> None:
    """A backup or a curious person may read for an hour; afterwards the disk is free again."""
    file = tmp_path / "a.db"

    def log() -> int:
        return Path(f"{file}-wal").stat().st_size

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

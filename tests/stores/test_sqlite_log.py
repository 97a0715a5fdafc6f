"""The log beside a SQLite file, which SQLite calls the WAL."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

from rewake.errors import StoreUnavailable
from rewake.ledger import View
from rewake.stores.keys import VIEWS, view_key
from rewake.stores.sqlite.file import LOG_BYTES, LOG_RESERVED, reserve_log
from rewake.stores.sqlite.reader import SqliteReader
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.sqlite.writer import SETTLED


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


async def _fill(file: Path, is_enough: Callable[[int], bool]) -> int:
    """Write views, each in a commit of its own, and copy the folder as a crash would leave it."""
    table, n = SqliteTable(file), 0
    try:
        while not is_enough(n):
            view = View(f"r{n}", "main", n)
            await table.put(view_key(view), view)
            n += 1
    finally:
        shutil.copytree(file.parent, file.parent.with_name("crashed"))
        await table.close()
    return n


def test_a_log_that_is_reserved_is_read_as_far_as_it_was_written(tmp_path: Path) -> None:
    """Whoever opens the file after a crash finds each write, those from before and from after."""
    file, crashed = tmp_path / "own" / "a.db", tmp_path / "crashed" / "a.db"
    file.parent.mkdir()
    reserved: list[int] = []

    def is_enough(n: int) -> bool:
        if size_of_log(file)() >= LOG_RESERVED:
            reserved.append(n)
        return len(reserved) > 20

    writes = asyncio.run(_fill(file, is_enough))
    assert SETTLED <= reserved[0] < 500, "by its own pages it would have grown later"

    async def read() -> None:
        table = SqliteTable(crashed)
        assert len((await table.query(VIEWS)).items) == writes
        await table.close()

    asyncio.run(read())


def test_a_few_writes_reserve_nothing(tmp_path: Path) -> None:
    """A command that writes one thing does not write megabytes."""
    file = tmp_path / "own" / "a.db"
    file.parent.mkdir()
    asyncio.run(_fill(file, lambda n: n == SETTLED - 8))
    assert size_of_log(tmp_path / "crashed" / "a.db")() < LOG_RESERVED


def test_what_is_reserved_replaces_nothing_that_another_process_writes(tmp_path: Path) -> None:
    """It is appended to what is there at that moment, and only what is missing."""
    log = tmp_path / "a.db-wal"
    log.write_bytes(b"frames")
    reserve_log(tmp_path / "a.db")
    assert log.read_bytes() == b"frames" + bytes(LOG_RESERVED - 6)
    log.write_bytes(b"x" * (LOG_RESERVED + 5))
    reserve_log(tmp_path / "a.db")
    assert log.read_bytes() == b"x" * (LOG_RESERVED + 5)


def test_nothing_is_reserved_where_there_is_little_room_or_no_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is left of the disk is for what has to be kept."""
    reserve_log(tmp_path / "a.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.db-wal").write_bytes(b"")
    room = Mock(return_value=Mock(free=LOG_RESERVED))
    monkeypatch.setattr(shutil, "disk_usage", room)
    reserve_log(tmp_path / "a.db")
    assert size_of_log(tmp_path / "a.db")() == 0


def test_the_log_of_a_file_behind_a_link_is_found(tmp_path: Path) -> None:
    """It lies beside the file itself: a reader reads it, it counts, and no child inherits it."""

    def inherited(table: SqliteTable) -> set[int]:
        return {os.fstat(each).st_ino for each in table.after_fork()}

    (tmp_path / "own").mkdir()
    link, file = tmp_path / "a.db", tmp_path / "own" / "b.db"
    log = Path(f"{file}-wal").stat
    link.symlink_to(file)

    async def work() -> None:
        table, view = SqliteTable(link), View("r", "main", 1)
        await table.put(view_key(view), view)
        reader = SqliteReader(link)
        assert [item for _, item in (await reader.query(VIEWS)).items] == [view]
        assert not reader.has_changed()
        await reader.close()
        assert table.size == file.stat().st_size + size_of_log(file)()
        assert log().st_ino in inherited(table)
        await table.close()

    asyncio.run(work())


def test_a_file_that_may_only_be_read_is_refused_as_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite opens it, with a log where its folder may be written: a server served nothing."""
    path, connect = tmp_path / "a.db", sqlite3.connect
    asyncio.run(SqliteTable(path).close())

    def without_the_right(file: Path, **how: Any) -> Any:
        where = file if how.get("uri") else f"{file.as_uri()}?mode=ro"
        return connect(where, **(how | {"uri": True}))

    with closing(connect(path, isolation_level=None)) as writes:
        writes.execute("BEGIN IMMEDIATE")
        asyncio.run(SqliteTable(path).close())  # who is told to wait may write
    monkeypatch.setattr(sqlite3, "connect", without_the_right)
    with pytest.raises(StoreUnavailable, match=r"a\.db: attempt to write a readonly database"):
        SqliteTable(path)

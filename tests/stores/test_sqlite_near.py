"""What is particular to commits in the event loop itself, of a few jobs on a fast disk."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rewake.records import Header
from rewake.stores.sqlite import writer
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Key

H = Key("R#1", "H")
HEADER = Header("1", "main", 1, 7, 1)


@contextmanager
def another_writer(path: Path) -> Iterator[None]:
    """Another process in the middle of a transaction."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def test_a_few_jobs_are_committed_in_the_loop(tmp_path: Path) -> None:
    """A lone write is committed by the thread that asked for it."""

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        where: list[int] = []

        async def work() -> None:
            where.append(threading.get_ident())
            await table.put(H, HEADER)

        await table.together(work)
        await table.close()
        assert where == [threading.get_ident()]

    asyncio.run(main())


def test_what_is_ready_together_shares_a_commit(tmp_path: Path) -> None:
    """Writes asked for in one round of the event loop are one transaction."""

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        await table.put(H, HEADER)
        before = table.commits
        few = range(writer.FEW)
        await asyncio.gather(*(table.update(H, add={"arrivals": 1}) for _ in few))
        assert table.commits == before + 1
        assert (await table.get(H)).arrivals == writer.FEW
        await table.close()

    asyncio.run(main())


def test_a_lock_of_another_process_is_not_waited_for_in_the_loop(tmp_path: Path) -> None:
    """While another process writes, the event loop goes on, and the write follows."""

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        await table.put(H, HEADER)
        with another_writer(tmp_path / "a.db"):
            write = asyncio.ensure_future(table.update(H, add={"arrivals": 1}))
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert not write.done()
        assert (await write).ok
        assert (await table.get(H)).arrivals == 1
        await table.close()

    asyncio.run(main())


def test_a_slow_disk_is_left_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once commits are slow, none of them holds up the event loop."""
    monkeypatch.setattr(writer, "FAST", -1.0)

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        where: list[int] = []

        async def work() -> None:
            where.append(threading.get_ident())
            await table.put(H, HEADER)

        await table.together(work)
        await table.close()
        assert where != [threading.get_ident()]

    asyncio.run(main())


def test_who_waits_with_one_that_is_cancelled_is_answered(tmp_path: Path) -> None:
    """The first of those that share a commit makes it; if that one is cancelled, it is made yet."""

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        await table.put(H, HEADER)
        first, second = (
            asyncio.ensure_future(table.update(H, add={"arrivals": n})) for n in (1, 2)
        )
        asyncio.get_running_loop().call_soon(first.cancel)
        assert (await asyncio.wait_for(second, 60)).ok
        assert first.cancelled()
        assert (await table.get(H)).arrivals == 3, "what was asked for is done, though nobody waits"
        await table.close()

    asyncio.run(main())


def test_an_error_of_who_was_cancelled_is_told_to_nobody(tmp_path: Path) -> None:
    """The loop would else log that it was never asked for, with its traceback."""
    told: list[Any] = []

    async def main() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, about: told.append(about))
        table = SqliteTable(tmp_path / "a.db")

        async def fails() -> None:
            raise ValueError("its own")

        cancelled = asyncio.ensure_future(table.together(fails))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert cancelled.cancelled()
        await table.close()
        del cancelled
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(main())
    assert told == []


@pytest.mark.parametrize("thrown_away", [True, False])
def test_a_coroutine_that_is_not_continued_holds_up_no_other(
    tmp_path: Path, thrown_away: bool
) -> None:
    """Whoever drives it by hand may leave it where it waits: what shares its commit is made, and
    its own write with that.
    """

    async def main() -> None:
        table = SqliteTable(tmp_path / "a.db")
        await table.put(H, HEADER)
        left = table.update(H, add={"arrivals": 1})
        left.send(None)
        if thrown_away:
            left.close()
        assert (await asyncio.wait_for(table.update(H, add={"arrivals": 2}), 60)).ok
        assert (await table.get(H)).arrivals == 3
        left.close()
        await table.close()

    asyncio.run(main())


def test_who_waits_deep_in_its_stack_fails_no_other(tmp_path: Path) -> None:
    """What shares its commit runs on no stack of another's, which may have no room for it."""

    async def deep(levels: int, table: SqliteTable) -> Any:
        if levels:
            return await deep(levels - 1, table)
        return await table.update(H, add={"arrivals": 1})

    async def main() -> None:
        table, limit = SqliteTable(tmp_path / "a.db"), sys.getrecursionlimit()
        await table.put(H, HEADER)
        outcomes = set()
        for levels in range(limit - 160, limit - 5):
            first = asyncio.ensure_future(deep(levels, table))
            second = asyncio.ensure_future(table.update(H, add={"arrivals": 1}))
            assert (await asyncio.wait_for(second, 60)).ok, levels
            await asyncio.wait([first])
            outcomes.add(type(first.exception()))
        assert outcomes == {type(None), RecursionError}, "the limit is reached on the way"
        await table.close()

    asyncio.run(main())


def test_who_waits_alone_is_answered_by_the_turn_that_commits(tmp_path: Path) -> None:
    """A lone write takes one turn of the loop: the commit is made there, and its caller goes on."""

    async def main() -> None:
        table, turns, loop = SqliteTable(tmp_path / "a.db"), 0, asyncio.get_running_loop()
        await table.put(H, HEADER)

        def turn() -> None:
            nonlocal turns
            turns += 1
            counting[0] = loop.call_soon(turn)

        counting = [loop.call_soon(turn)]
        await table.update(H, add={"arrivals": 1})
        counting[0].cancel()
        assert turns == 1
        await table.close()

    asyncio.run(main())

"""A signal whose name nobody waits for is kept, and that is said: to its sender, and at the end."""

from __future__ import annotations

import asyncio
from unittest.mock import patch

import pytest

from rewake import sleep, wait_for_signal, workflow
from rewake.engine.outside.signals import Signals
from rewake.engine.turns.commits import Commits
from rewake.records import Logged
from rewake.states import RunState
from tests.support.virtual import Bench, virtually


@workflow
async def hears_two(pause: float = 0) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(wait_for_signal("paid"))
        group.create_task(wait_for_signal("shipped"))
    await sleep(pause)


async def logged(bench: Bench, run: str) -> list[str]:
    """What is in the log of the body."""
    _, history = await bench.engine.history(run)
    logs = [each for each in history.entries if isinstance(each, Logged)]
    return [line.message for each in logs for line in each.lines]


@workflow
async def hears_in_turn() -> list[int]:
    return [await wait_for_signal("first", type=int), await wait_for_signal("second", type=int)]


def test_what_came_with_another_is_found_by_the_wait_that_this_one_leads_to() -> None:
    """Also where both came within one turn, whose header is of before: nothing else wakes it."""
    close_joins = Commits.close_joins

    async def body(bench: Bench) -> None:
        door, sent = Signals(bench.engine), list[str]()

        async def meanwhile(commits: Commits) -> bool:
            if not sent:
                sent.append(run := commits.header.run)
                await door.send(run, "second", 2)
                await door.send(run, "first", 1)
            return await close_joins(commits)

        with patch.object(Commits, "close_joins", meanwhile):
            assert await bench.run("hears_in_turn") == [1, 2]
        assert sent

    virtually([hears_in_turn], body)


@pytest.mark.parametrize("cached", [0, 10])
def test_a_name_that_nobody_waits_for_is_told(cached: int) -> None:
    """By the names of the open waits, live and from the history; and at the end, in the log."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("hears_two", pause=9)).run
        await asyncio.sleep(1)
        kept = await door.keep(run, "payd", 1, id="a")
        assert kept.waits_for == ["paid", "shipped"]
        assert (await door.keep(run, "paid", 1)).waits_for is None
        await asyncio.sleep(1)
        assert (await door.keep(run, "payd", 1, id="a")).waits_for is None, "it is not new"
        assert (await door.keep(run, "payd", 2)).waits_for == ["shipped"]
        assert (await door.keep(run, "shipped", 1)).waits_for is None
        await asyncio.sleep(1)
        assert (await door.keep(run, "late", 2)).waits_for == []
        await bench.result(run, 60)
        told = "it has ended without reading these signals: payd (2), late (1)"
        assert await logged(bench, run) == [told]
        left = (await door.sent_to(run, unread=True)).signals
        assert [each.signal.name for each in left] == ["payd", "payd", "late"]

    virtually([hears_two], body, cached=cached)


@pytest.mark.parametrize("cached", [0, 10])
def test_a_run_that_has_read_all_says_nothing(cached: int) -> None:
    """Whether its last instance has read what came or a replay passed over it."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("hears_two", pause=9)).run
        for name in ("paid", "shipped"):
            await door.send(run, name, 1)
        await bench.result(run, 60)
        assert await logged(bench, run) == []
        assert (await door.sent_to(run, unread=True)).signals == []

    virtually([hears_two], body, cached=cached)


def test_a_run_that_is_cancelled_says_it_too() -> None:
    """However it ends: a cancelled run may have been one that waited for another name."""

    async def body(bench: Bench) -> None:
        door, run = Signals(bench.engine), (await bench.start("hears_two")).run
        await asyncio.sleep(1)
        await door.send(run, "payd", 1)
        await bench.engine.cancel(run)
        await asyncio.sleep(1)
        assert (await bench.engine.get(run)).state is RunState.CANCELLED
        [told] = await logged(bench, run)
        assert told.endswith("payd (1)")

    virtually([hears_two], body)

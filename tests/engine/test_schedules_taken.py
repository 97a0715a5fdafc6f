"""A schedule whose taker dies, or stands still: its run begins once, and in its turn."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from rewake import every, sleep, workflow
from rewake.app import App
from rewake.engine.schedules.scheduler import Scheduler
from rewake.engine.schedules.schedules import Schedules
from rewake.ledger import Schedule
from rewake.schedules.definition import definition_of
from rewake.schedules.times import every_times
from tests.engine.test_schedules import DAY, HOUR, play, report, runs, started
from tests.support.virtual import Bench, die


def test_a_death_between_the_run_and_its_record_starts_no_other() -> None:
    """Who takes a schedule over starts the same run again, and so finds it."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        first = bench.engine.services.store.schedules
        change = first.change

        async def dies(seen: Schedule, mark: str, changes: Any) -> Schedule | None:
            if "next" in changes and changes["next"] != seen.next:
                die(bench.engine)
                await asyncio.Event().wait()
            return await change(seen, mark, changes)

        first.change = dies  # type: ignore[method-assign]
        second = bench.another()
        second.open()
        await asyncio.sleep(2 * HOUR + 700)
        bench.engine = second
        assert [each.run[7:] for each in await runs(bench)] == [
            "2023-11-14T23:00:00Z",
            "2023-11-15T00:00:00Z",
        ]
        found = await second.schedules.get("report")
        assert found.started == 2
        await second.close()

    play([report(every(HOUR))], body)


@pytest.mark.parametrize(
    ("dies", "away", "begins", "skipped"),
    [("behind", 900, [2800], 0), ("before", 300, [3100], 0), ("before", 900, [], 1)],
)
def test_who_died_over_a_run_decides_that_it_is_in_time(
    dies: str, away: int, begins: list[int], skipped: int
) -> None:
    """No later run begins beside one whose start was not written down, be there a `catch_up` or
    none; what might begin yet is started, and what cannot any more is passed over.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        start = Scheduler._start

        async def dying(*given: Any) -> str:
            if dies == "behind":
                await start(*given)
            die(bench.engine)
            await asyncio.Event().wait()
            return ""

        with patch.object(Scheduler, "_start", dying):
            await asyncio.sleep(2800 + away)
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(20)
        assert await started(bench) == pytest.approx(begins, abs=20)
        found = await bench.engine.schedules.get("report")
        assert (found.started, found.skipped) == (len(begins), skipped)

    schedule = every(HOUR, overlap="queue", catch_up=0)
    play([report(schedule, takes=DAY)], body, sweep=5_000, lease=15_000)


@contextmanager
def behind_the_first_start(act: Callable[[], Awaitable[None]]) -> Iterator[None]:
    """Do something once a run was started, and before that is written down."""
    start, acted = Scheduler._start, asyncio.Event()

    async def disturbed(*given: Any) -> str:
        run = await start(*given)
        if not acted.is_set():
            acted.set()
            await act()
        return run

    with patch.object(Scheduler, "_start", disturbed):
        yield


async def _pauses(schedules: Schedules) -> None:
    await schedules.pause("report")
    await schedules.resume("report")


async def _changes(schedules: Schedules) -> None:
    times = every_times(HOUR * 500, HOUR * 100)
    made = definition_of(await schedules.get("report"))
    await schedules.change("report", replace(made, times=times))


@pytest.mark.parametrize("act", [_pauses, _changes])
def test_who_moves_a_schedule_on_knows_what_was_just_started(
    act: Callable[[Schedules], Awaitable[None]],
) -> None:
    """Who has started a run can write it down no more after that: it is the run before, all the
    same, and no other begins beside it.
    """

    async def body(bench: Bench, schedules: Schedules) -> None:
        with behind_the_first_start(lambda: act(schedules)):
            await asyncio.sleep(2 * HOUR)
        assert await started(bench) == pytest.approx([2800], abs=20)
        found = await schedules.get("report")
        assert (found.started, found.last) == (1, "report:2023-11-14T23:00:00Z")
        assert found.skipped == len(found.became) - 1 > 0

    play([report(every(HOUR), takes=DAY)], body, sweep=5_000, lease=15_000)


def test_a_run_of_another_workflow_is_not_the_run_before() -> None:
    """It has the id that a nominal time's would have, and is not cancelled for the next one."""

    @workflow
    async def other() -> None:
        await sleep(DAY)

    async def body(bench: Bench, schedules: Schedules) -> None:
        taken, _ = await bench.engine.start("other", {}, run="report:2023-11-14T23:00:00Z")
        with behind_the_first_start(lambda: _pauses(schedules)):
            await asyncio.sleep(2 * HOUR + 100)
        assert (await bench.engine.get(taken.run)).cancels == 0
        found = await schedules.get("report")
        assert (found.started, found.last) == (1, "report:2023-11-15T00:00:00Z")

    play([report(every(HOUR, overlap="cancel")), other], body, sweep=5_000, lease=15_000)


def test_a_server_that_cannot_serve_it_does_not_hide_who_took_a_schedule() -> None:
    """Who lacks it knows nothing of a run whose starter died; who has it finds that run."""

    async def body(bench: Bench, schedules: Schedules) -> None:
        start, own = Scheduler._start, bench._app

        async def dying(*given: Any) -> str:
            await start(*given)
            die(bench.engine)
            await asyncio.Event().wait()
            return ""

        bench._app = App()
        other, bench._app = bench.another(), own
        with patch.object(Scheduler, "_start", dying):
            await asyncio.sleep(2790)
            other.open()
            await asyncio.sleep(400)
        await other.close()
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(2 * HOUR)
        assert await started(bench) == pytest.approx([2800], abs=20)
        found = await bench.engine.schedules.get("report")
        assert (found.started, found.skipped) == (1, 2)

    schedule = every(HOUR, catch_up=0)
    play([report(schedule, takes=DAY)], body, sweep=5_000, lease=15_000)

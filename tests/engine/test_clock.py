"""A machine's clock that is set right: `now()` stands, and waits go on."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from rewake import now, sleep, sleep_until, step, wait_for_approval, workflow
from rewake.kinds import Kind
from rewake.records import ClockSetBack, Scheduled
from tests.support.virtual import TABLES, Bench, virtually

HOUR = 3_600_000
everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [0, 256])


def set_back(bench: Bench, back: int = HOUR) -> None:
    """Set the clock of this machine back."""
    clock: Any = bench.engine.services.clock
    told = clock.now
    clock.now = lambda: told() - back


async def nothing() -> None:
    await asyncio.sleep(10)


@workflow
async def sleeps(how: str) -> list[float]:
    start = now()
    await step("nothing", nothing)
    if how == "sleep":
        await sleep(60)
    elif how == "approval":
        await wait_for_approval("yes", timeout=60)
    elif how == "timeout":
        try:
            async with asyncio.timeout(60):
                await wait_for_approval("yes")
        except TimeoutError:
            pass
    return [(now() - start).total_seconds()]


@everywhere
@warm_and_cold
@pytest.mark.parametrize("how", ["sleep", "timeout", "approval"])
def test_what_is_asked_for_on_a_clock_set_back_takes_its_time(
    how: str, cached: int, table: str
) -> None:
    """A wait of 60 s takes 60 s, though `now()` stands for an hour; the same live and cold."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("sleeps", how=how)).run
        await asyncio.sleep(5)
        set_back(bench)
        assert await bench.result(run) == [0.0]
        assert 70 <= bench.seconds < 72

    virtually([sleeps], body, table=table, cached=cached)


@workflow
async def naps() -> list[float]:
    start, seen = now(), []
    for _ in range(4):
        await sleep(2)
        seen.append((now() - start).total_seconds())
    return seen


@everywhere
@warm_and_cold
def test_a_sleep_that_is_open_then_begins_again_at_the_most(cached: int, table: str) -> None:
    """A sleep within the horizon, during which the clock is set back, is not an hour late."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("naps")).run
        await asyncio.sleep(3)
        set_back(bench)
        assert await bench.result(run) == [2.0] * 4
        assert 8 <= bench.seconds < 11
        _, history = await bench.engine.history(run)
        assert sum(isinstance(entry, ClockSetBack) for entry in history.entries) == 1

    virtually([naps], body, table=table, cached=cached)


def test_clocks_that_differ_by_the_skew_move_no_wait() -> None:
    """Replicas whose clocks differ as much as they may do not shorten each other's sleeps."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("naps")).run
        await asyncio.sleep(1)
        set_back(bench, bench.engine.services.settings.skew)
        await bench.result(run)
        assert bench.seconds >= 8
        _, history = await bench.engine.history(run)
        assert not any(isinstance(entry, ClockSetBack) for entry in history.entries)

    virtually([naps], body)


@workflow
async def until_noon() -> None:
    noon = now() + timedelta(seconds=100)
    await sleep(10)
    await sleep_until(noon)


def test_a_moment_stays_where_it_is() -> None:
    """`sleep_until` waits for a time of day: by a clock that was set back, that comes later."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("until_noon")).run
        await asyncio.sleep(20)
        set_back(bench, 50_000)
        await bench.result(run)
        assert 149 <= bench.seconds < 153
        _, history = await bench.engine.history(run)
        timers = [e for e in history.entries if isinstance(e, Scheduled) and e.kind is Kind.TIMER]
        assert len(timers) == 2

    virtually([until_noon], body)

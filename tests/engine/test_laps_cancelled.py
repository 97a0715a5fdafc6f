"""At the turn of a lap: which lap observes a cancellation, and what ends with the old one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import continue_as_new, sleep, step, updates, workflow
from rewake.engine.outside.signals import Signals
from rewake.records import Header
from rewake.states import RunState
from tests.engine.test_laps import everywhere, lapping, subscription, warm_and_cold
from tests.support.virtual import Bench, Ended, virtually

CLEANED: list[int] = []


@everywhere
def test_a_cancellation_before_the_next_lap_is_observed_in_this_one(table: str) -> None:
    """Accepted means observed: the end of a lap is not committed past a request to cancel."""

    async def body(bench: Bench) -> None:
        header, engine = await bench.start("subscription", months=9), bench.engine
        store: Any = engine.services.store
        next_lap, held = store.next_lap, list[Header]()

        async def cancel_first(*args: Any, **more: Any) -> Any:
            if not held:
                held.append(await engine.cancel(header.run, "enough"))
            return await next_lap(*args, **more)

        store.next_lap = cancel_first
        with pytest.raises(Ended):
            await bench.result(header.run)
        found = await engine.get(header.run)
        assert (found.state, found.lap.number, found.cancel) == (RunState.CANCELLED, 1, "enough")

    lapping(body, subscription, table=table)


@workflow
async def answers(number: int = 1) -> None:
    try:
        async for request in updates("ask", type=int):
            request.accept(number)
            break
    except asyncio.CancelledError:
        CLEANED.append(number)
        raise
    continue_as_new(number + 1)


@everywhere
@warm_and_cold
@pytest.mark.parametrize("begun", [False, True], ids=["before", "after"])
def test_a_cancellation_after_the_end_of_a_lap_is_observed_in_the_next(
    table: str, cached: int, begun: bool
) -> None:
    """What a lap answered is committed before the next begins: a request between is not lost.

    The next lap observes it, as it does one that comes before its own first commit, and its
    cleanup runs: it may be for what earlier laps have done.
    """

    async def body(bench: Bench) -> None:
        CLEANED.clear()
        header, engine = await bench.start("answers"), bench.engine
        store: Any = engine.services.store
        next_lap, held = store.next_lap, list[Header]()

        async def cancel(*args: Any, **more: Any) -> Any:
            committed = None
            if begun:
                committed = await next_lap(*args, **more)
            if not held:
                held.append(await engine.cancel(header.run, "enough"))
            return committed if begun else await next_lap(*args, **more)

        store.next_lap = cancel
        await Signals(engine).send(header.run, "ask", 1, id="one")
        with pytest.raises(Ended):
            await bench.result(header.run)
        found = await engine.get(header.run)
        assert (found.state, found.lap.number, found.cancel) == (RunState.CANCELLED, 2, "enough")
        assert set(CLEANED) == {2}

    virtually([answers], body, table=table, cached=cached)


def test_a_cancellation_that_is_swallowed_stays_in_its_lap() -> None:
    """A body that goes on as new after it was asked to cancel is not asked again."""

    @workflow
    async def stubborn(lap: int = 1) -> int:
        try:
            await sleep(100)
        except asyncio.CancelledError:
            continue_as_new(lap + 1)
        return lap

    async def body(bench: Bench) -> None:
        header = await bench.start("stubborn")
        await asyncio.sleep(1)
        await bench.engine.cancel(header.run)
        assert await bench.result(header.run) == 2

    lapping(body, stubborn, cached=0)


RUNNING: list[int] = []


@workflow
async def leaves(lap: int = 1) -> int:
    async def hang() -> None:
        RUNNING.append(lap)
        try:
            await asyncio.Event().wait()
        finally:
            RUNNING.remove(lap)

    left = asyncio.ensure_future(step("left", hang))
    await step("look", lambda: set(RUNNING) <= {lap} or pytest.fail(f"{RUNNING} in lap {lap}"))
    left.cancel()
    if lap < 5:
        continue_as_new(lap + 1)
    return lap


@everywhere
def test_a_step_that_was_never_committed_ends_with_its_lap(table: str) -> None:
    """It was asked for and withdrawn within one commit, and was under way: it goes on in none."""

    async def body(bench: Bench) -> None:
        RUNNING.clear()
        assert await bench.run("leaves") == 5
        await asyncio.sleep(1)
        assert RUNNING == []

    virtually([leaves], body, table=table)

"""Runs that wait for one another in a circle are told so; what may still go on is left alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import concurrency, sleep, task, wait_for_signal, workflow
from rewake.engine.outside.signals import Signals
from rewake.engine.sweeping.deadlocks import Deadlocks
from rewake.errors import StoreUnavailable, TaskError
from rewake.records import Header
from rewake.states import RunState
from tests.support.virtual import TABLES, Bench, virtually

LONG = 300
"""Seconds, behind which nothing goes on by itself any more."""


@workflow
async def left(but: str = "") -> str:
    """Wait for the end of `right`; or also for something else."""
    handle = await right.start(but, id="r")
    try:
        if but == "signal":
            both = [
                asyncio.create_task(handle.result()),
                asyncio.create_task(wait_for_signal("go")),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return "told to go on"
        async with asyncio.timeout(3 * LONG if but == "time" else None):
            return await handle.result()
    except (TaskError, TimeoutError) as error:
        return f"{getattr(error, 'type', 'TimeoutError')}: {error}"


@workflow
async def right(but: str = "") -> str:
    """Wait for the end of `left`, which waits for this one."""
    if but == "no circle":
        await sleep(3 * LONG)
        return "at last"
    handle = await left.start(but, id="l")
    try:
        return f"right after {await handle.result()}"
    except TaskError as error:
        return f"right told {error.type}"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("cached", [0, 10])
def test_two_runs_that_wait_for_each_other(table: str, cached: int) -> None:
    """One wait fails, with the circle in its error; then both go on, and end."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("left", {"but": ""}, run="l")
        ends = {run: await bench.result(run, LONG) for run in ("l", "r")}
        told = "wait for ever: run {} waits for run {}, and run {} waits for run {}"
        if ends["l"].startswith("RunConflict"):
            assert told.format("l", "r", "r", "l") in ends["l"]
            assert ends["r"] == f"right after {ends['l']}"
        else:
            assert ends == {"r": "right told RunConflict", "l": ends["r"]}

    virtually([left, right], body, table=table, cached=cached)


def test_a_look_for_a_circle_that_fails_is_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that does not answer as somebody looks, or a death, leaves no circle as it is."""
    look_at, failed = Deadlocks.look_at, [0]

    async def failing(self: Deadlocks, header: Header, *about: Any, rests: bool) -> None:
        failed[0] += rests
        if rests and failed[0] < 4:
            raise StoreUnavailable("for a moment")
        await look_at(self, header, *about, rests=rests)

    monkeypatch.setattr(Deadlocks, "look_at", failing)

    async def body(bench: Bench) -> None:
        await bench.engine.start("left", {"but": ""}, run="l")
        assert "RunConflict" in await bench.result("l", LONG)

    virtually([left, right], body)


@pytest.mark.parametrize("but", ["signal", "time", "no circle"])
def test_what_may_still_go_on_is_left_alone(but: str) -> None:
    """A run that waits for a signal or a moment too, or for what sleeps, waits in no circle."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("left", {"but": but}, run="l")
        assert await bench.engine.result("l", LONG) is None
        if but == "signal":
            await Signals(bench.engine).send("l", "go", None)
        ends = {
            "signal": "told to go on",
            "time": "TimeoutError: ",
            "no circle": "at last",
        }
        assert await bench.result("l", 3 * LONG) == ends[but]

    virtually([left, right], body)


@workflow
async def beside(lasts: float) -> str:
    await sleep(lasts)
    return "beside"


@workflow
async def first(lasts: float) -> list[str] | str:
    """Wait for two runs, of which one ends, and the other waits for this one."""
    handles = [await beside.start(lasts, id="b"), await second.start(lasts, id="s")]
    try:
        return list(await asyncio.gather(*(each.result() for each in handles)))
    except TaskError as error:
        return f"first told {error.type}"


@workflow
async def second(lasts: float) -> str:
    await sleep(10)
    try:
        handle = await first.start(lasts, id="f")
        return f"second after {await handle.result()}"
    except TaskError as error:
        return f"second told {error.type}"


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("lasts", [1.0, 100.0])
def test_a_circle_of_a_run_that_waits_for_others_too(table: str, lasts: float) -> None:
    """What has ended lets a run go on no more that waits for more than that."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("first", {"lasts": lasts}, run="f")
        ends = {run: await bench.result(run, LONG) for run in ("f", "s")}
        assert ends in (
            {"f": "first told RunConflict", "s": "second after first told RunConflict"},
            {"f": ["beside", "second told RunConflict"], "s": "second told RunConflict"},
        )
        assert bench.seconds < lasts + 60

    virtually([first, second, beside], body, table=table)


def test_a_circle_that_is_paused_is_left_alone_until_it_goes_on() -> None:
    """Whoever has paused a run may mean to end it another way; once resumed, it is told."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("left", {"but": ""}, run="l")
        await asyncio.sleep(5)
        await bench.engine.pause("r")
        assert await bench.engine.result("l", LONG) is None
        await bench.engine.resume("r")
        assert "RunConflict" in await bench.result("l", LONG)

    virtually([left, right], body)


@task(limits=concurrency(1, name="one"))
async def needs_one() -> None:
    """A task of the first limit."""


@task(limits=concurrency(1, name="two"))
async def needs_two() -> None:
    """A task of the second one."""


@workflow(limits=concurrency(1, name="one"))
async def has_one(call: str, pause: float = 1) -> str:
    await sleep(pause)
    if call:
        await (needs_two() if call == "task" else has_two("", 0))
    return "one"


@workflow(limits=concurrency(1, name="two"))
async def has_two(call: str, pause: float = 1) -> str:
    await sleep(pause)
    if call:
        await (needs_one() if call == "task" else has_one("", 0))
    return "two"


@pytest.mark.parametrize("call", ["task", "child"])
def test_a_circle_over_two_limits(call: str) -> None:
    """Each holds the place that what the other waits for needs: one is told, the other goes on."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start(name, call=call) for name in ("has_one", "has_two")]
        ends = [await bench.engine.result(each.run, LONG) for each in runs]
        failures = [each.failure for each in ends if each is not None and each.failure is not None]
        assert None not in ends
        assert [each.type for each in failures] == ["TaskError"]
        assert "wait for ever" in failures[0].message
        assert "waits for the limit" in failures[0].message
        await asyncio.sleep(LONG)
        states = [each.state for each in (await bench.engine.list(children=True))[0]]
        assert not {RunState.PARKED, RunState.RUNNING, RunState.READY}.intersection(states)
        held: list[Any] = [
            holder
            for limit in (await bench.engine.services.store.limits(limit=50, cursor=None))[0]
            for holder in limit.holders
        ]
        assert held == []

    virtually([has_one, has_two, needs_one, needs_two], body)

"""A blocked event loop: who is named, who is given up, and who is not.

A thread of the test looks while code blocks the loop, and tells the watchdog what time it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from rewake import sleep, step, task, workflow
from rewake.engine.handover.watchdog import ENDED, Watchdog
from rewake.errors import StuckError
from rewake.records import Operation
from rewake.states import RunState
from tests.support.virtual import TABLES, Bench, Ended, virtually

PATIENCE = 20.0
LIMIT = 30
"""Seconds after which a culprit is given up."""


class Looks:
    """What a thread does while the loop is blocked: so many looks, a second apart."""

    dog: Watchdog
    bench: Bench

    def __init__(self) -> None:
        self.now = 0.0
        self.ended: list[int] = []
        self.errors: dict[str, str] = {}

    def open(self, bench: Bench) -> None:
        self.bench = bench
        self.dog = Watchdog(bench.engine.services, end=self.ended.append)
        self.dog.open(threaded=False)
        self.now = self.dog._looked

    def look(self, seconds: int, each: float = 1.0) -> None:
        for _ in range(seconds):
            self.now += each
            self.dog.look(self.now)


looks = Looks()
go, done = threading.Event(), threading.Event()


def blocks() -> None:
    """Block the loop until the thread of the test has looked."""
    go.set()
    assert done.wait(PATIENCE)
    done.clear()
    if looks.ended:
        raise RuntimeError("the process has ended: nothing of this counts")


@contextmanager
def looking(seconds: int = LIMIT + 1, *, times: int = 1, each: float = 1.0) -> Iterator[None]:
    """Look for so many seconds whenever code blocks."""

    def serve() -> None:
        for _ in range(times):
            if not go.wait(PATIENCE) or over.is_set():
                return
            go.clear()
            # A look in between would see it at another line.
            while sys._current_frames()[looks.dog._watched].f_code.co_name != "wait":
                time.sleep(0.001)
            looks.look(seconds, each)
            done.set()

    over = threading.Event()
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        over.set()
        go.set()
        thread.join()
        go.clear()
        done.clear()


def watched(body: Callable[[Bench], Awaitable[None]], table: str = "memory") -> None:
    async def main(bench: Bench) -> None:
        looks.ended = []
        looks.open(bench)
        await body(bench)

    members: list[Any] = [
        bad_task,
        bad_child,
        waits,
        waiting,
        bad_body,
        tasks,
        children,
        steps,
        innocent,
        then_sleeps,
    ]
    virtually(members, main, table=table)


@task
async def bad_task() -> str:
    if blocked.pop():
        blocks()
    return "done"


@task
async def bad_child() -> str:
    async def child() -> None:
        blocks()

    await asyncio.gather(child())
    return "done"


@task
async def waits() -> str:
    begun.append("waits")
    await asyncio.sleep(100)
    return "waited"


blocked: list[bool] = []
begun: list[str] = []


@workflow
async def waiting() -> str:
    return await waits()


@workflow
async def innocent() -> str:
    async def long() -> str:
        await asyncio.sleep(100)
        return "waited"

    return await step("long", long)


@workflow
async def bad_body() -> str:
    blocks()
    return "done"


@workflow
async def tasks() -> str:
    return await bad_task()


@workflow
async def children() -> str:
    return await bad_child()


@workflow
async def then_sleeps() -> str:
    await steps.function()
    await sleep(10**6)
    return "done"


@workflow
async def steps() -> str:
    async def hog() -> str:
        if blocked.pop():
            blocks()
        return "done"

    return await step("hog", hog)


async def operation(bench: Bench, run: str) -> Operation:
    """The only task of a run, as it is stored."""
    _, history = await bench.engine.history(run)
    (found,) = history.operations.values()
    return found


async def gave_up(bench: Bench, workflow: str) -> str:
    """A run of this workflow that blocked the loop and was given up, beside two innocent ones."""
    begun.clear()
    others = [(await bench.start(each)).run for each in ("waiting", "innocent")]
    await asyncio.sleep(1)
    with looking():
        run = (await bench.start(workflow)).run
        await asyncio.sleep(0)
        while not looks.ended:  # noqa: ASYNC110 - one step of the loop after the other
            await asyncio.sleep(0)
    assert looks.ended == [ENDED]
    looks.errors[run] = (await bench.engine.get(run)).error
    for other in others:
        header = await bench.engine.get(other)
        assert header.strikes <= 1
    assert (await operation(bench, others[0])).lost == 0
    for other in others:
        assert await bench.result(other) == "waited"
    return run


@pytest.mark.parametrize("table", TABLES)
def test_a_body_that_blocks_the_loop_is_stuck_at_once(table: str) -> None:
    """It would block the next process as well; it says where. What ran beside it goes on."""

    async def body(bench: Bench) -> None:
        run = await gave_up(bench, "bad_body")
        with pytest.raises(StuckError, match=r"blocked the event loop for 30 s, at .*test_watch"):
            await bench.result(run, 1)

    watched(body, table)


@pytest.mark.parametrize("table", TABLES)
def test_a_task_that_blocks_the_loop_is_lost(table: str) -> None:
    """One attempt is lost, for a reason that is kept, and the next one may succeed."""

    async def body(bench: Bench) -> None:
        blocked[:] = [False, True]
        run = await gave_up(bench, "tasks")
        found = await operation(bench, run)
        assert (found.attempts, found.lost) == (2, 1)
        assert found.failure is not None
        assert found.failure.type == "blocked"
        assert "test_watchdog.py" in found.failure.message
        assert await bench.result(run) == "done"

    watched(body, table)


def test_a_task_that_always_blocks_the_loop_fails_and_says_why() -> None:
    """After three attempts it has failed as `lost`; the error has the line that blocked."""

    async def body(bench: Bench) -> None:
        blocked[:] = [True] * 3
        run = (await bench.start("tasks")).run
        with looking(times=3), pytest.raises(Ended) as ended:
            await bench.result(run)
        failure = ended.value.failure
        assert failure is not None
        assert "3 attempts ended" in failure.message
        assert "blocked the event loop for 30 s, at" in failure.message
        assert looks.ended == [ENDED] * 3

    watched(body)


def test_a_child_of_an_attempt_blocks_for_it() -> None:
    """An asyncio task that an attempt began is part of it, whatever is on the stack."""

    async def body(bench: Bench) -> None:
        with looking():
            run = (await bench.start("children")).run
            await asyncio.sleep(0)
            while not looks.ended:  # noqa: ASYNC110 - one step of the loop after the other
                await asyncio.sleep(0)
        found = await operation(bench, run)
        assert found.lost == 1

    watched(body)


def test_a_step_that_blocks_the_loop_costs_its_run_a_strike() -> None:
    """Its run is tried again, and is stuck after as many strikes as deaths would take."""

    async def body(bench: Bench) -> None:
        blocked[:] = [True] * 20
        run = (await bench.start("steps")).run
        with looking(times=6), pytest.raises(StuckError, match="5 times in a row; the last time"):
            await bench.result(run)
        assert looks.ended == [ENDED] * 5

    watched(body)


def test_progress_forgets_why_a_claim_was_lost() -> None:
    """The reason is there until the run has progressed: it is not told of a later death."""

    async def body(bench: Bench) -> None:
        blocked[:] = [False, True]
        run = await gave_up(bench, "then_sleeps")
        assert "blocked: it blocked the event loop" in looks.errors[run]
        header = await bench.engine.get(run)
        assert (header.state, header.error) == (RunState.PARKED, "")

    watched(body)


def test_a_blocked_loop_is_told_of_with_the_line(caplog: pytest.LogCaptureFixture) -> None:
    """A warning says which task blocks, where, and for how long; and another that it is over."""

    async def body(bench: Bench) -> None:
        blocked[:] = [True]
        with looking(6):
            run = (await bench.start("tasks")).run
            assert await bench.result(run) == "done"
        looks.look(1)
        assert not looks.ended
        assert (await operation(bench, run)).lost == 0
        first, second = (each.getMessage() for each in caplog.records)
        assert first.startswith("the event loop is blocked, for 1.0 s, by task bad_task of run ")
        assert "test_watchdog.py:" in first
        assert second.startswith("the event loop goes on; it was blocked for 5.0 s, last by task")

    with caplog.at_level(logging.WARNING, "rewake.watchdog"):
        watched(body)


def test_a_pause_is_not_a_block() -> None:
    """An hour in which this process did not run at all counts as two looks."""

    async def body(bench: Bench) -> None:
        blocked[:] = [True]
        with looking(5, each=3600):
            run = (await bench.start("tasks")).run
            assert await bench.result(run) == "done"
        assert not looks.ended

    watched(body)


def test_a_loop_that_many_keep_busy_is_not_blocked_by_any() -> None:
    """Each blocks it for a while before it can answer; none of them is given up."""

    async def body(bench: Bench) -> None:
        blocked[:] = [True] * 4
        with looking(LIMIT // 2, times=4):
            runs = [(await bench.start("tasks")).run for _ in range(4)]
            looks.dog._ask = lambda: None  # type: ignore[method-assign]
            looks.dog._asked += 1
            for run in runs:
                assert await bench.result(run) == "done"
        assert not looks.ended

    watched(body)


def test_a_process_that_is_told_to_end_ends_in_a_blocked_loop() -> None:
    """After the grace all is released, nothing is lost, and the process ends as it was told to."""

    async def body(bench: Bench) -> None:
        blocked[:] = [False, True]
        with looking(6):
            run = (await bench.start("tasks")).run
            looks.dog.told_to_end(5.0, 3)
            assert await bench.result(run) == "done"
        assert looks.ended[:1] == [3]
        found = await operation(bench, run)
        assert found.lost == 0

    watched(body)


def test_a_debugger_may_hold_the_loop() -> None:
    """Who looks at a paused program has all the time in the world."""

    async def body(bench: Bench) -> None:
        names: dict[str, Any] = {"__name__": "pdb", "blocks": blocks}
        exec("def interaction(): blocks()", names)
        with looking(10 * LIMIT):
            names["interaction"]()
        assert not looks.ended

    watched(body)


def test_a_loop_that_does_not_run_is_not_blocked(caplog: pytest.LogCaptureFixture) -> None:
    """A program may leave its loop alone between two runs of it, or forget to close the engine."""

    async def body(bench: Bench) -> None:
        await asyncio.sleep(0)
        looks.look(1)

    watched(body)
    looks.look(2 * LIMIT)
    assert not looks.ended
    assert not caplog.records


def test_code_of_no_run_that_blocks_the_loop_ends_the_process() -> None:
    """Whoever's code it is: all is handed over without a loss, and the process ends."""

    async def body(bench: Bench) -> None:
        others = [(await bench.start(each)).run for each in ("waiting", "innocent")]
        await asyncio.sleep(1)
        with looking(), pytest.raises(RuntimeError, match="the process has ended"):
            blocks()
        assert looks.ended == [ENDED]
        for other in others:
            assert await bench.result(other) == "waited"
        assert (await operation(bench, others[0])).lost == 0

    watched(body)


def test_a_callback_that_an_attempt_left_behind_is_found() -> None:
    """What runs in no asyncio task blocks the loop as well, and ends the process."""

    async def body(bench: Bench) -> None:
        with looking():
            loop, over = asyncio.get_running_loop(), asyncio.Event()

            def callback() -> None:
                with contextlib.suppress(RuntimeError):
                    blocks()
                over.set()

            loop.call_soon(callback)
            await over.wait()
        assert looks.ended == [ENDED]

    watched(body)

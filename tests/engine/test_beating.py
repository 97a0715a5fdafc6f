"""Heartbeats from threads, which nothing can interrupt: they are real, and wait for events."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from rewake import task, task_context
from rewake.authoring.attempt import attempt
from rewake.authoring.context import LocalLog, TaskContext
from rewake.authoring.heartbeat import Beats, Silent
from rewake.errors import AttemptOver, TaskError
from tests.engine.test_threads import PATIENCE, a_pool, until


def test_a_thread_that_hangs_is_left_behind_and_hears_of_it() -> None:
    """Its attempt is silent; nothing that it tells later counts, and its next beat ends it."""
    told: list[Exception] = []
    begun, go, over = threading.Event(), threading.Event(), threading.Event()

    def hangs() -> str:
        task_context().heartbeat(1)
        begun.set()
        go.wait(PATIENCE)
        try:
            task_context().heartbeat(2)
        except AttemptOver as error:
            told.append(error)
        over.set()
        return "too late"

    async def main() -> None:
        beats = Beats(b"", asyncio.get_running_loop().time)
        context = TaskContext("r1", "hangs", 1, LocalLog(), beats=beats)
        with a_pool(1) as pool:
            with pytest.raises(Silent, match=r"no heartbeat came for 0\.05 s"):
                await attempt(
                    hangs, (), {}, timeout=None, silence=0.05, context=context, threads=pool
                )
            assert begun.is_set()
            assert (pool.abandoned, beats.told) == (1, b"1")
            go.set()
            await until(lambda: not pool.abandoned)
        assert over.wait(PATIENCE)
        assert beats.told == b"1"

    asyncio.run(main())
    assert [str(each) for each in told] == [
        "this attempt is over: nothing that it does counts any more"
    ]


def test_silence_does_not_count_while_a_call_waits_for_a_thread() -> None:
    """As a time-out, it begins when the function does."""

    async def main() -> None:
        gate = threading.Event()
        with a_pool(1) as pool:
            context = TaskContext("r1", "first", 1, LocalLog())
            first = attempt(gate.wait, (PATIENCE,), {}, timeout=None, context=context, threads=pool)
            holding = asyncio.ensure_future(first)
            beats = Beats(b"", asyncio.get_running_loop().time)
            waiting = TaskContext("r1", "waits", 1, LocalLog(), beats=beats)
            second = asyncio.ensure_future(
                attempt(
                    lambda: "done",
                    (),
                    {},
                    timeout=None,
                    silence=0.02,
                    context=waiting,
                    threads=pool,
                )
            )
            await asyncio.wait({second}, timeout=0.06)
            assert not second.done()
            gate.set()
            assert await second == "done"
            await holding

    asyncio.run(main())


def test_outside_of_a_run_the_same_holds() -> None:
    """A test that calls the task gets its retries, its silence and its progress."""
    found: list[Any] = []

    @task(heartbeat=0.02, delay=0)
    async def hangs(silent: int) -> str:
        found.append(task_context().progress)
        task_context().heartbeat({"attempt": task_context().attempt if silent == 1 else 0})
        if task_context().attempt <= silent:
            await asyncio.sleep(PATIENCE)
        return "done"

    assert asyncio.run(hangs(1)) == "done"
    assert found == [None, {"attempt": 1}]
    with pytest.raises(TaskError, match="lost: 3 attempts in a row fell silent"):
        asyncio.run(hangs(9))

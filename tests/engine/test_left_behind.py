"""Async attempts that do not end when they are cancelled hold up nothing but themselves."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import step, task, task_context, workflow
from rewake.errors import AttemptOver, UsageError
from tests.support.virtual import Bench, virtually

told: list[Any] = []


async def stubborn(cleanup: float = 300) -> int:
    """Hang, swallow the cancellation, and go on for so many seconds."""
    context = task_context()
    if context.attempt > 1:
        return context.attempt
    try:
        await asyncio.sleep(10**6)
    except asyncio.CancelledError:
        await asyncio.sleep(cleanup)
    try:
        context.heartbeat()
        told.append("it counts")
    except (AttemptOver, UsageError):  # of a step it is the latter, whenever it is
        told.append("it is over")
    return 1


silent = task(name="silent", heartbeat=20, delay=1, jitter=0)(stubborn)
timed = task(name="timed", timeout=20, retries=1, delay=1, jitter=0)(stubborn)


@workflow
async def tries(how: str) -> int:
    match how:
        case "heartbeat":
            return await silent()
        case "timeout":
            return await timed()
        case _:
            return await step("timed", stubborn, timeout=20, retries=1, delay=1, jitter=0)


@pytest.mark.parametrize("how", ["heartbeat", "timeout", "step"])
def test_an_attempt_that_swallows_its_end_is_left_behind(
    how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It has as long again for its cleanup; then the next attempt begins, and it counts no more."""

    async def body(bench: Bench) -> None:
        told.clear()
        assert await bench.run("tries", how=how) == 2
        assert bench.seconds == pytest.approx(20 + 20 + 1, abs=0.1)
        assert not told
        await asyncio.sleep(300)
        assert told == ["it is over"]

    virtually([silent, timed, tries], body)
    assert "goes on after it was cancelled: nothing of it counts" in caplog.text


def test_a_cleanup_is_waited_for() -> None:
    """Within that time it is no less than it was: what it returns is its result."""

    @task(timeout=2)
    async def cleans_up() -> int:
        return await stubborn(9)

    @workflow
    async def works() -> int:
        return await cleans_up()

    async def body(bench: Bench) -> None:
        assert await bench.run("works") == 1
        assert bench.seconds == pytest.approx(2 + 9, abs=0.1)

    told.clear()
    virtually([cleans_up, works], body)
    assert told == ["it counts"]

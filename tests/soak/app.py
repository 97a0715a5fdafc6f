"""Workflows of which one knows how they end, whatever happens to their processes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from rewake import parallel, race, sleep, step, task, task_context, wait_for_approval, workflow
from tests.soak.notes import body


@task
async def double(number: int) -> int:
    with body():
        await asyncio.sleep(0.05)
        return 2 * number


@task
def square(number: int) -> int:
    """In a thread, for longer than a lease."""
    with body():
        time.sleep(3)
        return number * number


@task
async def slow(number: int) -> int:
    """For several leases."""
    with body():
        await asyncio.sleep(6)
        return number + 1


@task(retries=9, delay=0.2, jitter=0)
async def flaky(number: int) -> int:
    with body():
        if task_context().attempt < 3:
            raise ValueError("not yet")
        return number


def _stepped(number: int) -> int:
    with body():
        return number + 10


@workflow
async def fan(number: int) -> list[int]:
    """Branches of two tasks and a step."""

    async def branch(each: int) -> int:
        return await step("add", lambda: _stepped(each)) + await double(await double(each))

    return await parallel(range(number, number + 8), branch, concurrency=4)


@workflow
async def patient(number: int) -> list[int]:
    """Long work of every sort, and sleeps between."""
    first = await asyncio.gather(slow(number), square(number))
    await sleep(1.5)
    return [*first, await flaky(number)]


@workflow
async def hurried(number: int) -> Any:
    """A race that is won by a task, and a time-out."""
    won = await race(double(number), sleep(3600))
    try:
        async with asyncio.timeout(0.5):
            await sleep(3600)
    except TimeoutError:
        return [won, "timed out"]


@workflow
async def asked(number: int) -> list[Any]:
    """What a person decides, between two tasks."""
    before = await double(number)
    approval = await wait_for_approval("sign-off")
    return [before, approval.decision, approval.value, await double(number + 1)]


ENDS: Mapping[str, Callable[[int], Any]] = {
    "fan": lambda n: [each + 10 + 4 * each for each in range(n, n + 8)],
    "patient": lambda n: [n + 1, n * n, n],
    "hurried": lambda n: [2 * n, "timed out"],
    "asked": lambda n: [2 * n, "approved", n, 2 * n + 2],
}
"""By workflow: the result for an input."""

"""The workflows and tasks that are measured. Each result is 1 KiB of JSON."""

from __future__ import annotations

import asyncio
import time

from rewake import parallel, sleep, step, task, wait_for_approval, workflow
from tests.bench import durability

RESULT = "x" * 1022  # and its two quotes

ticks: list[float] = []
"""When each inline step ran: how a step's cost changes with the length of a run."""


@task
async def work(number: int) -> str:
    return RESULT


@task
async def settings_in_use() -> list[list[str | int]]:
    """How durable the connections of whichever process runs this are."""
    return durability.settings()


async def _work() -> str:
    ticks.append(time.perf_counter())
    return RESULT


@workflow
async def durability_check() -> list[list[str | int]]:
    return await settings_in_use()


@workflow
async def sequential_steps(count: int) -> int:
    for _ in range(count):
        await step("work", _work)
    return count


@workflow
async def sequential_tasks(count: int) -> int:
    for number in range(count):
        await work(number)
    return count


@workflow
async def parallel_steps(count: int) -> int:
    return len(await asyncio.gather(*(step("work", _work) for _ in range(count))))


@workflow
async def parallel_tasks(count: int) -> int:
    return len(await parallel(range(count), work))


@workflow
async def sleeper(seconds: float) -> None:
    await sleep(seconds)


@workflow
async def steps_then_sleep(count: int, seconds: float) -> int:
    for _ in range(count):
        await step("work", _work)
    await sleep(seconds)
    return count


@workflow
async def waiter(seconds: float) -> str:
    decided = await wait_for_approval(timeout=seconds)
    return decided.decision

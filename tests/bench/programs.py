"""The workflows and tasks that are measured. Each result is 1 KiB of JSON."""

from __future__ import annotations

import asyncio
import time

from rewake import (
    parallel,
    sleep,
    step,
    task,
    task_context,
    wait_for_approval,
    wait_for_event,
    wait_for_signal,
    workflow,
)
from tests.bench import durability

RESULT = "x" * 1022  # and its two quotes

ticks: list[float] = []
"""When each inline step ran: how a step's cost changes with the length of a run."""


@task
async def work(number: int) -> str:
    """The task that does nothing."""
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
    """The settings in whichever process carries out tasks."""
    return await settings_in_use()


@workflow
async def sequential_steps(count: int) -> int:
    """One inline step after another."""
    for _ in range(count):
        await step("work", _work)
    return count


@workflow
async def sequential_tasks(count: int) -> int:
    """One task after another, each an invocation of its own."""
    for number in range(count):
        await work(number)
    return count


@workflow
async def parallel_steps(count: int) -> int:
    """Inline steps at once."""
    return len(await asyncio.gather(*(step("work", _work) for _ in range(count))))


@workflow
async def parallel_tasks(count: int) -> int:
    """Tasks at once."""
    return len(await parallel(range(count), work))


async def _branch(number: int) -> None:
    await work(number)
    await work(number)


@workflow
async def branches(count: int) -> int:
    """Branches at once, of two tasks each."""
    return len(await asyncio.gather(*(_branch(number) for number in range(count))))


@workflow
async def as_completed(count: int) -> int:
    """Tasks at once, each awaited when it ends."""
    for each in asyncio.as_completed([work(number) for number in range(count)]):
        await each
    return count


@task(retries=1, delay=1, jitter=0)
async def second_time(number: int) -> None:
    """A task that fails once."""
    if task_context().attempt < 2:
        raise ValueError(number)


@workflow
async def retries(count: int) -> int:
    """Tasks at once, which all fail once and wait for their retry."""
    return len(await asyncio.gather(*(second_time(number) for number in range(count))))


@task(retries=1, delay=3600)
async def an_hour_later(number: int) -> None:
    """A task that fails, and waits long for its retry."""
    raise ValueError(number)


@workflow
async def long_retries(count: int) -> int:
    """Tasks at once, which all wait for a retry."""
    return len(await asyncio.gather(*(an_hour_later(number) for number in range(count))))


@workflow
async def results_then_approval(count: int) -> None:
    """Results, and then a wait for a decision."""
    await parallel(range(count), work)
    await wait_for_approval()


@workflow
async def approvals(count: int) -> int:
    """Waits for decisions, all at once."""
    return len(await asyncio.gather(*(wait_for_approval() for _ in range(count))))


@workflow
async def hears() -> None:
    await wait_for_event("told")


@workflow
async def sleeper(seconds: float) -> None:
    """One durable sleep."""
    await sleep(seconds)


@workflow
async def steps_then_sleep(count: int, seconds: float) -> int:
    """A history, and then a suspension."""
    for _ in range(count):
        await step("work", _work)
    await sleep(seconds)
    return count


@workflow
async def waiter(seconds: float) -> str:
    """One wait for an approval."""
    decided = await wait_for_approval(timeout=seconds)
    return str(decided.decision)


@workflow
async def one_signal() -> int:
    found: int = await wait_for_signal("go", type=int)
    return found


@workflow
async def one_approval() -> bool:
    return (await wait_for_approval("go")).value is None


@workflow
async def one_task(number: int) -> str:
    """The child run that does little."""
    return await work(number)


@workflow
async def children(count: int) -> int:
    """Runs of a run, at once."""
    return len(await parallel(range(count), one_task))

"""The programs whose operations `units.py` counts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from rewake import (
    batch,
    block,
    concurrency,
    continue_as_new,
    emit,
    sleep,
    state,
    step,
    task,
    task_context,
    updates,
    wait_for_approval,
    wait_for_event,
    wait_for_signal,
    wait_until,
    workflow,
)

LARGE = 300_000
LONG = 1_200
"""Seconds of a sleep beyond what a queue keeps a message for."""


@task
async def quick(n: int) -> int:
    return n


@task(retries=1, delay=1)
async def flaky(n: int, failed: set[int] = set()) -> int:  # noqa: B006 - it is to be remembered
    if n not in failed:
        failed.add(n)
        raise ValueError("once")
    failed.remove(n)
    return n


@task(limits=concurrency(1_000))
async def let_in(n: int) -> int:
    return n


@task(limits=concurrency(1))
async def in_turn(n: int) -> int:
    return n


@workflow(batch=batch(1_000, within=60))
async def batched(items: list[int]) -> None:
    pass


@task(cache=3600)
async def kept(n: int, of: int = 0) -> int:
    return n


@task
async def tells(seconds: int, beats: int) -> None:
    for number in range(seconds):
        await asyncio.sleep(1)
        for _ in range(beats):
            task_context().heartbeat(number)


@task
async def large(n: int) -> str:
    return "x" * LARGE


@workflow
async def nothing(n: int) -> None:
    pass


@workflow
async def steps(n: int) -> None:
    for _ in range(n):
        await step("one", int)


@workflow
async def blocks(n: int) -> None:
    async def one() -> int:
        return await step("one", int)

    for _ in range(n):
        await block("all", one)


@workflow
async def blocks_again(n: int) -> None:
    tries = 0

    async def one() -> None:
        nonlocal tries
        tries += 1
        await step("one", int)
        if tries % 2:
            raise ValueError("once")

    for _ in range(n):
        await block("all", one, retries=1, delay=1)


@workflow
async def sequence(n: int) -> None:
    for i in range(n):
        await quick(i)


@workflow
async def makes(n: int) -> None:
    for i in range(n):
        await kept(i, of=n)


@workflow
async def finds(n: int) -> None:
    for _ in range(n):
        await kept(0)


@workflow
async def lets_in(n: int) -> None:
    for i in range(n):
        await let_in(i)


@workflow
async def queues(n: int) -> None:
    await asyncio.gather(*(in_turn(i) for i in range(n)))


@workflow
async def fan_out(n: int) -> None:
    await asyncio.gather(*(quick(i) for i in range(n)))


@workflow
async def retries(n: int) -> None:
    for i in range(n):
        await flaky(i)


@workflow
async def long_tasks(n: int) -> None:
    await tells(60 * n, 0)


@workflow
async def telling(n: int) -> None:
    await tells(60 * n, 1)


@workflow
async def large_values(n: int) -> None:
    for i in range(n):
        await large(i)


@workflow
async def emits(n: int) -> None:
    for i in range(n):
        await emit(i)


@workflow
async def minutes(n: int) -> None:
    for _ in range(n):
        await sleep(60)


@workflow
async def long_sleeps(n: int) -> None:
    for _ in range(n):
        await sleep(LONG)


@workflow
async def approvals(n: int) -> None:
    for i in range(n):
        await wait_for_approval(f"a{i}")


@workflow
async def signalled(n: int) -> None:
    for _ in range(n):
        await wait_for_signal("told")


@workflow
async def signalled_early(n: int) -> None:
    await sleep(600)
    for _ in range(n):
        await wait_for_signal("told")


@workflow
async def updated(n: int) -> None:
    left = n
    async for request in updates("told"):
        request.accept()
        left -= 1
        if not left:
            break


@workflow
async def event_waits(n: int) -> None:
    for i in range(n):
        await wait_for_event("told", where={"number": i})


@workflow
async def polls(n: int) -> None:
    await wait_until(_counter(n), every=60, state=0, done=lambda state: state >= n)


def _counter(n: int) -> Callable[[int], int]:
    return lambda state: min(state + 1, n)


@workflow
async def call_runs(n: int) -> None:
    for i in range(n):
        await nothing(i)


@workflow
async def fan_out_runs(n: int) -> None:
    await asyncio.gather(*(nothing(i) for i in range(n)))


@workflow
async def laps(n: int) -> None:
    if n:
        continue_as_new(n - 1)


@workflow
async def states(n: int) -> None:
    for i in range(n):
        async with state("counted", "here") as held:
            held.value = i


PROGRAMS = (
    *(quick, flaky, large, nothing, steps, blocks, blocks_again, sequence, fan_out, retries),
    *(large_values, emits),
    *(minutes, long_sleeps, approvals, call_runs, fan_out_runs, event_waits, polls),
    *(signalled, signalled_early, updated, kept, makes, finds, tells, long_tasks, telling),
    *(laps, states),
    *(let_in, in_turn, lets_in, queues, batched),
)

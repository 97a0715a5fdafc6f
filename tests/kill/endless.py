"""A workflow of three laps, and runs of others beside it: what one run of `app` cannot hold."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake import (
    TaskError,
    batch,
    continue_as_new,
    debounce,
    event,
    every,
    publish,
    scheduled_at,
    send_signal,
    set_labels,
    set_progress,
    set_status,
    sleep,
    state,
    step,
    task,
    updates,
    wait_for_event,
    wait_for_signal,
    wait_until,
    workflow,
)
from tests.kill.points import body, waiting, within

NAP = 0.1
"""Seconds: long enough to die in."""
NEVER = 3_600
SECOND = 1


@workflow
async def endless(lap: int = 1, before: list[Any] | None = None) -> list[Any]:
    """Take three laps. Each gets one of the notes that were sent before the first."""
    set_progress(lap, len(LAPS))
    note = await wait_for_signal("note", type=int)
    found = [*(before or []), note, await LAPS[lap - 1]()]
    if lap < len(LAPS):
        try:
            continue_as_new(lap + 1, before=found)
        finally:
            await step("end of the lap", lambda: within(None))
    return [*found, await step("last", lambda: within("the last"))]


async def _shares() -> int:
    """Runs that want one state at the same time."""
    set_labels(story="endless")
    others = [await adding.start(number) for number in (1, 2)]
    async with state("total", "of all") as total:
        waiting("state")
        await sleep(NAP)
        total.value = (total.value or 0) + await step("held", lambda: within(10))
    for each in others:
        await each.result()
    async with state("total", "of all") as total:
        return int(total.value)


async def _hears() -> list[Any]:
    """An event that comes before its wait, one during it, and a run that it cancels."""
    doomed = await watching.start(7)
    await wait_for_signal("watched")  # cancelled before it begins, it would do nothing
    await publish("paid", {"order": 6, "amount": 60}, id="early")
    late = asyncio.create_task(_amount(7))
    waiting("event")
    await pay(7)
    found: list[Any] = [await _amount(6), await late]
    try:
        await doomed.result()
    except TaskError as error:
        found.append(error.type)
    waiting("poll")
    done = await wait_until(
        lambda count: within(count + 1), state=0, done=lambda count: count > 1, every=NAP, name="up"
    )
    return [*found, done]


async def _amount(order: int) -> int:
    heard = await wait_for_event("paid", where={"order": order}, timeout=NEVER)
    return int(heard["amount"])


async def _is_asked() -> list[Any]:
    """An update that it answers, and a wait in which it is paused."""
    set_status("to be asked")
    waiting("update")
    found: list[Any] = []
    async for request in updates("change", type=int):
        found.append(request.value)
        request.accept(request.value + 1)
        break
    set_status("to be paused")
    waiting("pause")
    return [*found, await wait_for_signal("go", type=str)]


LAPS = (_shares, _hears, _is_asked)


@workflow
async def adding(number: int) -> None:
    """One of several that have a state in turn."""
    async with state("total", "of all") as total:
        total.value = (total.value or 0) + number


@task
async def pay(order: int) -> None:
    """Publishes, from a task."""
    with body():
        await publish("paid", {"order": order, "amount": 10 * order})


@workflow(cancel_on=event("paid", where={"order": "order"}))
async def watching(order: int) -> None:
    """Waits until an event cancels it."""
    try:
        await send_signal("the-run", "watched")
        await sleep(NEVER)
    finally:
        await step("cancelled", lambda: within(order))


@workflow(on_event="paid")
async def hearing(order: int, amount: int) -> int:
    """Is started by each event."""
    return await step("heard", lambda: within(amount - order))


@workflow(batch=batch(10, within=0.5))
async def collecting(items: list[int]) -> list[int]:
    """Has what several have sent."""
    return await step("collected", lambda: within(items))


@workflow(debounce=debounce(0.5))
async def settling(version: int) -> int:
    """Has what was sent last."""
    return await step("settled", lambda: within(version))


@workflow
async def delayed(number: int) -> int:
    """Is started before it begins, and once more when it has ended."""
    return await step("delayed", lambda: within(number))


@workflow
async def cart() -> list[int]:
    """Is found by its key."""
    return [await wait_for_signal("add", type=int) for _ in range(2)]


@workflow(schedule=every(SECOND, overlap="allow"))
async def ticking() -> str:
    """Is started each second."""
    at = scheduled_at()
    return "by hand" if at is None else at.isoformat()

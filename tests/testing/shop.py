"""A small app, as users of `rewake.testing` have one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import timedelta

from rewake import (
    callback,
    every,
    now,
    parallel,
    random,
    sleep,
    step,
    task,
    updates,
    wait_for_approval,
    wait_for_event,
    wait_for_signal,
    workflow,
)

charged: list[int] = []
noted: list[int] = []
asked: list[str] = []
moods: list[str] = []
"""What the world outside has seen: charges, notes, addresses at which the bank calls, whims."""


def forget() -> None:
    """Let the world outside have seen nothing."""
    for each in (charged, noted, asked, moods):
        each.clear()


def note(number: int) -> str:
    """A step."""
    noted.append(number)
    return f"order {number}"


@task(retries=3, delay=60, jitter=0)
def charge(order: int, amount: int = 5) -> str:
    """A sync task, which may have an event loop of its own, as in a thread."""
    charged.append(order)

    async def receipt() -> str:
        return f"receipt {order} of {amount}"

    return asyncio.run(receipt())


@task
async def remind(user: str) -> str:
    """An async task that takes a while by itself."""
    await asyncio.sleep(600)
    return f"{user}, the trial ends tomorrow"


@task(tag="gpu")
async def render(order: int) -> int:
    """A task for servers of a tag."""
    return order


@workflow
async def trial(user: str) -> str:
    """Nearly two weeks of nothing."""
    await sleep(timedelta(days=13))
    return await remind(user)


@workflow
async def order(number: int) -> list[str]:
    """Several commits, and a random number."""
    first = await step("note", lambda: note(number))
    receipt = await charge(number)
    await sleep(int(random().random() * 10) + 1)
    return [first, receipt, *map(str, await parallel([number], render))]


@workflow
async def checkout(number: int) -> str:
    """Waits for everything that others send."""
    async for request in updates("address", type=str):
        if request.value:
            request.accept("noted")
            break
        request.reject("an address is needed")
    answer = await wait_for_approval("boss", timeout=86_400)
    if not answer.approved:
        return f"refused: {answer.comment}"
    await wait_for_event("order.paid", where={"order": number}, timeout=3600)
    paid = callback("bank", timeout=3600)
    await step("ask the bank", lambda: asked.append(paid.url))
    return f"{await wait_for_signal('carrier', type=str)} {request.value} {await paid}"


@workflow
async def bundle(number: int) -> list[str]:
    """Has a child."""
    return await order(number)


@dataclass
class Parcel:
    """What is sent."""

    weight: int


@task
async def pack(number: int) -> Parcel:
    """A task with a result of a type."""
    return Parcel(number)


@workflow
async def sends(number: int) -> Parcel:
    """The same as a run."""
    parcel = await pack(number)
    return Parcel(parcel.weight + 1)


@workflow
async def wild() -> int:
    """Does something else each time it runs."""
    moods.append("other")
    return await step(f"step {len(moods)}", lambda: 1)


@workflow(schedule=every(3600, input={"user": "every hour"}))
async def hourly(user: str) -> str:
    """Is started by the hour."""
    return f"{user} at {now():%H:%M}"

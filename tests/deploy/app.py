"""The app that is deployed: a delivery starts it, it sleeps, asks, and ends; some is lost."""

from __future__ import annotations

from typing import Any

from rewake import approval, parallel, sleep, task, task_context, workflow
from rewake.webhooks import standard_webhooks, webhook


@task
async def square(number: int) -> int:
    """A small one."""
    return number * number


@task(retries=1, delay=8, jitter=0)
async def pack(note: str) -> int:
    """Takes what is large, and fails at first."""
    if task_context().attempt < 2:
        raise ValueError("no box")
    return len(note)


@workflow(webhook=webhook("orders", verify=standard_webhooks("ORDERS_SECRET")))
async def order(numbers: list[int], note: str) -> dict[str, Any]:
    """Tasks at once, a sleep, a person, and a result that is large."""
    squares = await parallel(numbers, square)
    await sleep(2)
    answer = await approval("Send it?", approvers=["ada@example.com"])
    return {"squares": squares, "by": answer.approver, "note": note}


@workflow(keep="1s+archive")
async def parcel(note: str) -> int:
    """A task whose message is lost, and some beside it."""
    await parallel(range(3), square)
    return await pack(note)


@workflow(keep="30d+archive")
async def letter() -> int:
    """It is archived by who purges it."""
    return 1

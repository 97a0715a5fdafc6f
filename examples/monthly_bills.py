"""Bills for all customers, each a run of its own: a fan-out to child runs.

    rewake run examples/monthly_bills.py:month --input '{"customers": ["ann", "bob", "eve"]}'

Each bill has an id, a timeline and retries of its own. One that fails is told at the end and does
not hold up the others; once its trouble is mended, `rewake runs retry` of it finishes that one
alone. Whoever cancels the month cancels all bills that are under way, and each takes back what it
had begun before the month itself ends.
"""

from __future__ import annotations

import asyncio

from rewake import TaskError, parallel, sleep, task, workflow

ORDERS = {"ann": [120, 80], "bob": [15], "eve": []}
OPEN: set[str] = set()
"""The drafts that exist. A real service keeps these for you."""


@task(retries=3)
async def draft(customer: str) -> None:
    OPEN.add(customer)


@task(retries=3)
async def discard(customer: str) -> None:
    OPEN.discard(customer)


@task
async def send(customer: str) -> int:
    if not ORDERS[customer]:
        raise ValueError(f"{customer} has ordered nothing")
    OPEN.discard(customer)
    return sum(ORDERS[customer])


@workflow
async def bill(customer: str, wait: float = 1) -> int:
    """Draft a bill, wait for late orders, and send it."""
    await draft(customer)
    try:
        await sleep(wait)
        return await send(customer)
    except (asyncio.CancelledError, TaskError):
        await discard(customer)
        raise


@workflow
async def month(customers: list[str], wait: float = 1) -> dict[str, int | str]:
    """Send all bills side by side; of those that could not be sent, say why."""

    async def one(customer: str) -> int | str:
        try:
            return await bill(customer, wait)
        except TaskError as error:
            return f"not sent: {error.message}"

    return dict(zip(customers, await parallel(customers, one), strict=True))

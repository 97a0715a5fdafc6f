"""A subscription is charged every month, for as long as nobody cancels it.

    rewake run examples/subscription.py --input '{"customer": "ann"}'

Temporal's subscription tutorial. It never ends by itself, so it goes on as new each month: its
history stays short. A cancellation that comes while it charges is kept until it looks.
"""

from __future__ import annotations

from datetime import timedelta

from rewake import continue_as_new, task, wait_for_signal, workflow

MONTH = timedelta(days=30)


@task(retries=10)
def charge(customer: str, month: int) -> str:
    return f"{customer}, month {month}"


@task(retries=10)
def say_goodbye(customer: str, months: int) -> str:
    return f"{customer} has left after {months} months"


@workflow
async def subscription(customer: str, month: int = 1) -> str:
    await charge(customer, month)
    try:
        await wait_for_signal("cancel", timeout=MONTH)
    except TimeoutError:
        continue_as_new(customer, month + 1)
    return await say_goodbye(customer, month)

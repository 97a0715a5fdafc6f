"""An API that takes ten requests a second, and two at once for each customer: nobody is refused.

    rewake run examples/rate_limited_api.py --input '{"customers": ["ann", "bob"], "each": 3}'

The rate limits of DBOS's queues, and Inngest's `throttle` and `concurrency`. The limits hold over
all runs and all servers; what waits for one holds nothing, and `rewake limits` shows it.
"""

from __future__ import annotations

from rewake import concurrency, parallel, rate, task, workflow


@task(retries=5, limits=[rate(10, per=1), concurrency(2, key=lambda customer: customer)])
async def call(customer: str, number: int) -> str:
    return f"{customer} {number}"


@workflow
async def report(customers: list[str], each: int) -> int:
    calls = [(customer, number) for customer in customers for number in range(each)]
    return len(await parallel(calls, lambda one: call(*one)))

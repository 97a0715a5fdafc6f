"""A night's work is handed out to one child run for each shop, and summed up.

    rewake run examples/fan_out.py --input '{"shops": {"oslo": [3, 4], "rome": [5]}}'

The child workflows of Temporal's samples, and DBOS's fan-out. Each shop has a run of its own, that
is looked at, cancelled and retried by itself; one that fails does not take the others with it.
"""

from __future__ import annotations

from rewake import parallel, task, workflow


@task(retries=3)
def check(sale: int) -> int:
    if sale < 0:
        raise ValueError(f"a sale of {sale}")
    return sale


@workflow
async def shop(name: str, sales: list[int]) -> str:
    return f"{name} sold {sum(await parallel(sales, check))}"


@workflow
async def night(shops: dict[str, list[int]]) -> list[str]:
    done = await parallel(sorted(shops), lambda name: shop(name, shops[name]), outcomes=True)
    return [str(outcome.result if outcome.ok else outcome.error) for outcome in done]

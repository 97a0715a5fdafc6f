"""One concurrency key with many waiters: what each costs, and whether that grows with the line.

python -m tests.bench.limits [WAITERS ...]
"""

from __future__ import annotations

import asyncio
import sys
import time

from rewake import concurrency, task, workflow
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually

WAITERS = (100, 1_000, 10_000)


@task(limits=concurrency(5))
async def turn(n: int) -> int:
    """A short piece of work."""
    await asyncio.sleep(0.001)
    return n


@workflow
async def line(n: int) -> int:
    """So many at once."""
    return len(await asyncio.gather(*(turn(i) for i in range(n))))


def measured(waiters: int) -> dict[str, float]:
    """The cost of each waiter, in units of a write, reads and microseconds of this processor."""
    table, began = CountingTable(), time.process_time()

    async def body(bench: Bench) -> None:
        assert await bench.run("line", n=waiters) == waiters

    virtually([turn, line], body, table=table)
    spent = time.process_time() - began
    return {
        "units": table.units / waiters,
        "reads": table.reads / waiters,
        "us": 1e6 * spent / waiters,
    }


async def waiters(count: int) -> tuple[float, ...]:
    """The same, beside a loop that runs."""
    return tuple((await asyncio.to_thread(measured, count)).values())


def main() -> None:
    """Print a line for each size."""
    for waiters in map(int, sys.argv[1:] or map(str, WAITERS)):
        found = measured(waiters)
        told = ", ".join(f"{value:.1f} {name}" for name, value in found.items())
        sys.stdout.write(f"{waiters} waiters on one key: {told} each\n")


if __name__ == "__main__":
    main()

"""What runs cost on a table with DynamoDB's limits, in units of writes and of the due index."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import sleep, task, workflow
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually


@task
async def quick(n: int) -> int:
    return n


@task
async def lasting(n: int) -> int:
    await asyncio.sleep(0.2 + (n * 7919 % 997) / 1000)
    return n


async def two(n: int) -> int:
    return await quick(await quick(n))


@workflow
async def nothing(n: int) -> int:
    return n


@workflow
async def sequence(n: int) -> int:
    for i in range(n):
        await quick(i)
    return n


@workflow
async def fan_out(n: int) -> int:
    return len(await asyncio.gather(*(quick(i) for i in range(n))))


@workflow
async def long_fan_out(n: int) -> int:
    return len(await asyncio.gather(*(lasting(i) for i in range(n))))


@workflow
async def branches(n: int) -> int:
    return len(await asyncio.gather(*(two(i) for i in range(n))))


@workflow
async def naps(n: int) -> int:
    for _ in range(n):
        await sleep(0.05)
    return n


@workflow
async def sleeps(n: int, seconds: float) -> int:
    for _ in range(n):
        await sleep(seconds)
    return n


@workflow
async def hours(n: int) -> int:
    for _ in range(n):
        await sleep(3600)
    return n


def cost(workflow: str, n: int, cached: int = 256, **arguments: float) -> CountingTable:
    table = CountingTable()

    async def body(bench: Bench) -> None:
        assert await bench.run(workflow, n=n, **arguments) == n

    virtually(
        [quick, lasting, nothing, sequence, fan_out, long_fan_out, branches, naps, sleeps, hours],
        body,
        table=table,
        cached=cached,
    )
    return table


@pytest.mark.parametrize(
    ("workflow", "n", "most"),
    [
        ("sequence", 100, 4.5),
        ("sequence", 400, 4.5),
        ("naps", 60, 3.5),
        ("hours", 4, 4.5),
        ("fan_out", 100, 3.5),
        ("fan_out", 2_000, 3.5),
        ("branches", 150, 8),
        ("branches", 600, 8),
    ],
)
def test_an_operation_costs_so_many_units(workflow: str, n: int, most: float) -> None:
    """Writes and those of the due index, for each task, sleep or branch, without the run's own.

    A claim and a park leave a due time that is early; outcomes that come together share a commit.
    """
    whole, own = cost(workflow, n), cost("nothing", 1)
    assert (whole.units - own.units) / n <= most
    assert whole.largest["H"] <= 1024


def test_a_fan_out_that_waits_long_for_slots_costs_no_more() -> None:
    """Looks come by while most of its tasks wait: none of these is offered, or delivered, again."""
    whole, own = cost("long_fan_out", 2_000), cost("nothing", 1)
    assert (whole.units - own.units) / 2_000 <= 3.5


@pytest.mark.parametrize("n", [50, 150, 600])
def test_a_branch_costs_no_more_without_a_cache(n: int) -> None:
    """Of outcomes that come together, one claims the run: the others do not try it too."""
    whole, own = cost("branches", n, cached=0), cost("nothing", 1)
    assert (whole.units - own.units) / n <= 8
    assert whole.refused <= 10


@pytest.mark.parametrize("seconds", [1, 1.1, 1.5, 2, 3, 5, 10, 100])
def test_a_sleep_costs_no_more_where_a_sweep_comes_at_the_same_time(seconds: float) -> None:
    """Its timer and the sweep both wake the run, and it is claimed once."""
    whole, own = cost("sleeps", 20, seconds=seconds), cost("nothing", 1)
    assert (whole.units - own.units) / 20 <= 4.5


def test_a_branch_reads_what_it_waits_for() -> None:
    """For each of its two tasks the item, and the run's header; no more in a wider fan-out."""
    for n in (100, 600):
        assert cost("branches", n).reads < 5 * n


@pytest.mark.parametrize(("workflow", "n"), [("sequence", 100), ("fan_out", 100), ("fan_out", 900)])
def test_a_removal_costs_a_unit_an_item(workflow: str, n: int) -> None:
    """Those of its tasks and of its history, and a few of its own: no more for a larger run."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        await bench.run(workflow, n=n)
        before = table.units
        await asyncio.sleep(31 * 86_400)
        assert (await bench.engine.list()) == ([], None)
        assert (table.units - before - 12) / n <= 1.5

    months: Any = {"sweep": 3_600_000, "lease": 7_200_000}
    virtually([quick, sequence, fan_out], body, table=table, **months)

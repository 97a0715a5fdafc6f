"""A due index that is minutes late: a long sleep waits for it, and nothing spins meanwhile."""

from __future__ import annotations

import asyncio

import pytest

from rewake import sleep, task, workflow
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually

SECONDS = 500


@task
async def lasting(n: int) -> int:
    await asyncio.sleep(9)
    return n


@workflow
async def busy(n: int) -> int:
    await lasting(n)
    await sleep(20)
    await lasting(n)
    return n


def cost(lag: int, runs: int) -> CountingTable:
    """What these runs cost, until the index has shown all of it."""
    clock: list[Bench] = []
    table = CountingTable(now=lambda: clock[0].engine.services.clock.now() if clock else 0, lag=lag)

    async def body(bench: Bench) -> None:
        clock.append(bench)
        headers = [await bench.start("busy", n=n) for n in range(runs)]
        begun = asyncio.get_running_loop().time()
        for n, header in enumerate(headers):
            assert await bench.result(header.run) == n
        assert asyncio.get_running_loop().time() - begun < 60 + lag / 1000
        await asyncio.sleep(SECONDS)

    virtually([lasting, busy], body, table=table)
    return table


@pytest.mark.parametrize("minutes", [1, 3])
def test_a_late_index_costs_about_what_one_in_time_does(minutes: int) -> None:
    """An entry that is shown late is looked at and found to be nothing, once a sweep at most."""
    late, in_time = cost(60_000 * minutes, 40), cost(0, 40)
    assert late.looks <= 1.5 * (SECONDS + 60 + 60 * minutes)
    assert late.writes <= 1.2 * in_time.writes
    assert late.gets <= 3 * in_time.gets

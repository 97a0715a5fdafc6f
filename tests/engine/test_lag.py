"""A due index that is minutes late: a long sleep waits for it, and nothing spins meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import now, sleep, task, workflow
from rewake.engine.sweeping import sweeper
from rewake.stores.keys import header_key
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Due, Key
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


@workflow
async def naps(seconds: float) -> float:
    before = now()
    await sleep(seconds)
    return (now() - before).total_seconds()


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


class Stale(MemoryTable):
    """Its index shows runs that are long gone, as if they were due before all others."""

    gone = tuple(Due(n, header_key(f"gone-{n}")) for n in range(1, 40))
    looks = 0

    async def due(self, until: int, *, limit: int, after: Due | None = None, **more: Any) -> Any:
        found = await super().due(until, limit=limit, after=after, **more)
        stale = [each for each in self.gone if after is None or each.due > after.due]
        return [*stale, *found][:limit]

    async def get(self, key: Key) -> Any:
        self.looks += key.partition.startswith("R#gone")
        return await super().get(key)


def test_what_a_late_index_still_shows_hides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many pages it fills; and each is looked at less and less often."""
    monkeypatch.setattr(sweeper, "PAGE", 5)
    table = Stale()

    async def body(bench: Bench) -> None:
        header = await bench.start("naps", seconds=100.0)
        assert await bench.result(header.run) <= 102
        assert table.looks <= 8 * len(table.gone)

    virtually([naps], body, table=table)

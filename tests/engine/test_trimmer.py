"""The audit log is kept within its bounds by the sweeps, a little with each."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake.access import Scope
from rewake.engine.engine import Engine
from rewake.engine.sweeping import trimmer
from rewake.errors import StoreError
from rewake.ledger import Audited
from rewake.stores import audit as stored
from rewake.stores.audit import Wanted
from rewake.stores.deliveries import BOUNDS as DELIVERIES
from rewake.stores.series import Bounds
from tests.support.counting import CountingTable
from tests.support.virtual import TABLES, Bench, virtually

LOOK = 60
AGE = 600


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds and times that a test can reach."""
    bounds = Bounds(items=10, age=AGE * 1000)
    monkeypatch.setattr(stored.Audit.__init__, "__defaults__", (bounds,))
    monkeypatch.setattr(trimmer, "EVERY", LOOK * 1000)
    monkeypatch.setattr(trimmer, "FEW", 5)
    monkeypatch.setattr(trimmer, "MANY", 50)


async def write(engine: Engine, number: int) -> None:
    audit, clock = engine.services.store.audit, engine.services.clock
    for _ in range(number):
        await audit.append(Audited(clock.now(), "token:ci", "run.start", 202), Scope.START)


async def kept(engine: Engine) -> int:
    page = await engine.services.store.audit.page(Wanted(), limit=1_000)
    return len(page.entries)


@pytest.mark.parametrize("table", TABLES)
def test_it_is_bounded_in_number(table: Any) -> None:
    """Whoever writes much removes what is over the bound soon after, a few with each sweep."""

    async def body(bench: Bench) -> None:
        await write(bench.engine, 49)
        await asyncio.sleep(10)
        assert await kept(bench.engine) == 49
        await write(bench.engine, 1)
        await asyncio.sleep(1.5)
        assert 40 <= await kept(bench.engine) <= 45
        await asyncio.sleep(20)
        assert await kept(bench.engine) == 10

    virtually([], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_it_is_bounded_in_age(table: Any) -> None:
    """What is a little too many, or too old, is removed with the next look of any process."""

    async def body(bench: Bench) -> None:
        await write(bench.engine, 12)
        other = bench.another()
        other.open()
        await asyncio.sleep(LOOK + 10)
        assert await kept(bench.engine) == 10
        await asyncio.sleep(AGE - 2 * LOOK)
        assert await kept(bench.engine) == 10
        await asyncio.sleep(3 * LOOK)
        assert await kept(bench.engine) == 0
        await other.close()

    virtually([], body, table=table)


def test_a_process_that_stands_still_removes_it_with_its_first_sweep() -> None:
    """All of it: its next one is a minute away, and it may not live until the next look."""

    async def body(bench: Bench) -> None:
        await write(bench.engine, 49)
        for _ in range(2):
            other = bench.another()
            other.open(sweep=False)
            await other.sweep()
            assert await kept(bench.engine) == 10
            await other.close()
            await write(bench.engine, 20)

    virtually([], body, pauses=True, sweeps=False)


def test_an_idle_process_reads_nothing_for_it() -> None:
    """Where nobody does anything, the audit log costs a few reads each hour."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        await asyncio.sleep(2 * LOOK + 10)
        assert table.gets <= 2 * (len(stored.SERIES) + len(DELIVERIES))
        assert bench.engine.services.store.audit.written == 0

    virtually([], body, table=table)


def test_a_sweep_does_not_fail_for_it(caplog: pytest.LogCaptureFixture) -> None:
    """If old entries cannot be removed that is said, and the runs go on being swept."""

    class Full(CountingTable):
        async def delete(self, keys: Any, *, when: Any = ()) -> None:
            del keys, when
            raise StoreError("the disk is gone")

    async def body(bench: Bench) -> None:
        await write(bench.engine, 60)
        await bench.engine.sweep()
        assert await kept(bench.engine) == 60

    virtually([], body, table=Full())
    assert "could not be removed" in caplog.text

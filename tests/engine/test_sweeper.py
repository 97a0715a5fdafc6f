"""What is due is found, whoever was told."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import sleep, task, workflow
from rewake.errors import StoreUnavailable
from rewake.states import RunState
from rewake.stores.table import Key
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)


@workflow
async def sleeps(seconds: float) -> str:
    await sleep(seconds)
    return "awake"


@everywhere
def test_what_is_due_soon_is_checked_on_time(table: str) -> None:
    """A timer does not wait for the next sweep: with a sweep each 20 s it is still exact."""

    async def body(bench: Bench) -> None:
        assert await bench.run("sleeps", seconds=33.3) == "awake"
        assert 33.3 <= bench.seconds < 33.4

    virtually([sleeps], body, table=table, sweep=20_000, horizon=25_000)


def test_a_sweep_for_one_run_touches_no_other() -> None:
    """An engine that is opened for one run alone leaves the rest of the database as it is."""

    async def body(bench: Bench) -> None:
        mine = (await bench.start("sleeps", seconds=20)).run
        other = (await bench.start("sleeps", seconds=10)).run
        await asyncio.sleep(1)
        await bench.engine.close()
        before = await bench.engine.get(other)
        bench.engine = bench.another()
        bench.engine.open(only=mine)
        assert await bench.result(mine) == "awake"
        await asyncio.sleep(60)
        assert await bench.engine.get(other) == before
        assert before.state is RunState.PARKED

    virtually([sleeps], body)


@task
async def works() -> str:
    return "worked"


@workflow
async def delegates() -> str:
    await sleep(1)
    return await works()


@everywhere
def test_a_message_that_was_lost_is_sent_again(table: str) -> None:
    """A task that nobody was told of is found through its run, within a grace."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        assert await bench.run("delegates") == "worked"
        assert len(lost) == 1
        assert bench.seconds < 1 + 4 + 2

    virtually([delegates, works], body, table=table)


@everywhere
def test_one_item_that_cannot_be_read_does_not_hold_up_the_others(table: str) -> None:
    """A check that fails with the store's error is tried again; its neighbours go on."""

    async def body(bench: Bench) -> None:
        sick = (await bench.start("sleeps", seconds=5)).run
        well = (await bench.start("sleeps", seconds=5)).run
        await asyncio.sleep(1)
        get = bench.table.get

        async def failing(key: Key) -> Any:
            if key.partition == f"R#{sick}" and bench.seconds < 30:
                raise StoreUnavailable("sick")
            return await get(key)

        bench.table.get = failing  # type: ignore[method-assign]
        bench.engine.services.cache.clear()
        assert await bench.result(well) == "awake"
        assert bench.seconds < 8
        await asyncio.sleep(30)
        assert await bench.result(sick) == "awake"

    virtually([sleeps], body, table=table)

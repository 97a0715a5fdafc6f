"""A retry after a fix: what the code no longer asks for is not begun; what stands, stands."""

from __future__ import annotations

import asyncio

import pytest

from rewake import step, task, workflow
from rewake.errors import StuckError
from rewake.views.timeline import timeline
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
code: dict[str, int] = {}
charged: list[int] = []


@pytest.fixture(autouse=True)
def _as_first_deployed() -> None:
    code.update(amount=5, broken=True)
    charged.clear()


@task
async def charge(amount: int) -> str:
    charged.append(amount)
    if code["broken"]:
        raise ConnectionError("no bank")
    return f"paid {amount}"


@workflow
async def charges() -> str:
    return await charge(code["amount"])


async def pay() -> str:
    await asyncio.sleep(1)
    return "paid"


@workflow
async def pays_and_stumbles() -> str:
    paid = await step("pay", pay)
    if code["broken"]:
        raise ValueError("broken")
    return paid


async def _failed(bench: Bench, workflow: str) -> str:
    run = (await bench.start(workflow)).run
    with pytest.raises(Ended):
        await bench.result(run)
    return run


@everywhere
@warm_and_cold
def test_a_retry_begins_nothing_that_the_code_no_longer_asks_for(table: str, cached: int) -> None:
    """The task that failed is begun again only once a replay has shown that it is still wanted."""

    async def body(bench: Bench) -> None:
        run = await _failed(bench, "charges")
        code.update(amount=50, broken=False)
        await bench.engine.retry(run)
        with pytest.raises(StuckError, match="50"):
            await bench.result(run)
        assert charged == [5]
        code.update(amount=5)
        await bench.engine.resume(run)
        assert await bench.result(run) == "paid 5"

    virtually([charges, charge], body, table=table, cached=cached)


@everywhere
@warm_and_cold
def test_what_stands_ended_when_it_did(table: str, cached: int) -> None:
    """The step before the error keeps its times, however long the run lay failed."""

    async def body(bench: Bench) -> None:
        run = await _failed(bench, "pays_and_stumbles")
        _, history = await bench.engine.history(run)
        [before] = timeline(history)[1]
        code.update(broken=False)
        await asyncio.sleep(100)
        await bench.engine.retry(run)
        assert await bench.result(run) == "paid"
        _, history = await bench.engine.history(run)
        [after] = timeline(history)[1]
        times = [(each.asked, each.ended, each.duration, each.tries) for each in (before, after)]
        assert times[0] == times[1]

    virtually([pays_and_stumbles], body, table=table, cached=cached)

"""While a new version is rolled out, each process leaves alone what only another can carry on."""

from __future__ import annotations

import asyncio

from rewake import sleep, workflow
from rewake.engine.program import RUNTIME
from rewake.states import RunState
from rewake.stores.keys import header_key
from tests.support.virtual import Bench, virtually


@workflow
async def naps() -> str:
    await sleep(2)
    return "rested"


def test_a_run_of_another_app_is_left_to_it() -> None:
    """A process that lacks the workflow puts the run back, and one that has it finishes it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("naps")
        await asyncio.sleep(1)
        found = bench.engine.app.workflows.pop("naps")
        bench.engine.services.cache.clear()
        await asyncio.sleep(100)
        kept = await bench.engine.get(header.run)
        assert (kept.state, kept.strikes) == (RunState.READY, 0)
        bench.engine.app.add(found)
        assert await bench.result(header.run) == "rested"

    virtually([naps], body)


def test_a_run_of_a_newer_rewake_is_left_to_it() -> None:
    """An old process replays nothing that a new one began: it puts the run back, untouched."""

    async def body(bench: Bench) -> None:
        header = await bench.start("naps")
        await asyncio.sleep(1)
        where = header_key(header.run)
        before = await bench.table.update(where, set={"runtime": RUNTIME + 1})
        await asyncio.sleep(100)
        kept = await bench.engine.get(header.run)
        assert (kept.state, kept.strikes) == (RunState.READY, 0)
        assert kept.count == before.item.count
        await bench.table.update(where, set={"runtime": RUNTIME})
        assert await bench.result(header.run) == "rested"

    virtually([naps], body, cached=0)

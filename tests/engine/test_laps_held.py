"""What a task of an earlier lap held: its run goes on for ever, and nothing is left to tell."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rewake import continue_as_new, sleep, state, task, workflow
from rewake.engine.outside.keyed import States
from rewake.engine.outside.signals import Signals
from tests.support.virtual import Bench, die, virtually


@task
async def holds_it() -> None:
    async with state("cart", "ann"):
        await asyncio.sleep(60)


@workflow
async def gives_up(lap: int = 1) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            await (holds_it() if lap == 1 else sleep(5))
    continue_as_new(lap + 1)


@workflow
async def adds(item: str) -> str:
    async with state("cart", "ann", timeout=60) as cart:
        cart.value = item
    return item


def test_what_a_task_held_of_a_lap_that_is_over_is_free() -> None:
    """Its process died, and it was given up: who comes after that has the state."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("gives_up")).run
        await asyncio.sleep(1)
        die(bench.engine)
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(60)
        assert (await bench.engine.get(run)).lap.number > 4
        found = await States(bench.engine.services, Signals(bench.engine)).read("cart", "ann")
        assert found is not None
        assert found[1].holder is not None
        assert await bench.run("adds", item="a") == "a"
        await bench.engine.cancel(run)

    virtually([gives_up, holds_it, adds], body)

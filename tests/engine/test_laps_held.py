"""What is left of an earlier lap, of which no item tells any more: places, and messages."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from rewake import concurrency, continue_as_new, sleep, state, task, workflow
from rewake.engine.outside.keyed import States
from rewake.engine.outside.signals import Signals
from tests.support.virtual import Bench, die, virtually


@task(limits=concurrency(9))
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


def test_a_message_of_a_lap_that_is_over_is_of_no_use() -> None:
    """It comes after long: no queue sends it again and again, for as long as the run goes on."""

    async def body(bench: Bench) -> None:
        lost = bench.lose_first_messages()
        run = (await bench.start("gives_up")).run
        await asyncio.sleep(30)
        assert (await bench.engine.get(run)).lap.number > 4
        [message] = lost
        assert await bench.engine.take(message) is None
        await bench.engine.cancel(run)

    virtually([gives_up, holds_it], body)

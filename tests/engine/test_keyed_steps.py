"""Keyed state in steps: one has no item, so only its run's history tells that it is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from rewake import TaskError, sleep, state, step, wait_for_signal, workflow
from tests.support.virtual import Bench, Ended, die, virtually


async def _holds() -> None:
    async with state("cart", "ann"):
        await asyncio.sleep(600)


@workflow
async def holds(once: bool, seconds: float) -> None:
    with suppress(TimeoutError, TaskError):
        async with asyncio.timeout(seconds):
            await step("holds", _holds, at_most_once=once)
    await sleep(1)
    await wait_for_signal("end")


@workflow
async def adds(item: str) -> str:
    async with state("cart", "ann", timeout=120) as cart:
        cart.value = item
    return item


@pytest.mark.parametrize("once", [False, True], ids=["withdrawn", "lost"])
def test_what_a_step_held_that_is_over_is_free(once: bool) -> None:
    """Its process died before it left: its run may go on for months."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("holds", once=once, seconds=5)).run
        await asyncio.sleep(1)
        die(bench.engine)
        await asyncio.sleep(30)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.run("adds", item="a") == "a"
        await bench.engine.kill(run)

    virtually([holds, adds], body)


def test_what_a_step_holds_that_goes_on_is_held() -> None:
    """However long it takes."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("holds", once=False, seconds=1000)).run
        await asyncio.sleep(60)
        with pytest.raises(Ended, match="TimeoutError"):
            await bench.run("adds", item="a")
        await asyncio.sleep(600)
        assert await bench.run("adds", item="b") == "b"
        await bench.engine.kill(run)

    virtually([holds, adds], body)

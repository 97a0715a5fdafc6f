"""Keyed state in steps: one has no item, so only its run's history tells that it is over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any
from unittest.mock import patch

import pytest

from rewake import TaskError, sleep, state, step, task, wait_for_signal, workflow
from rewake.records import Header
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


@task
async def looking() -> None:
    async with state("cart", "ann", timeout=600):
        pass


@workflow
async def looks() -> None:
    await looking()


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


def test_a_history_is_read_once_for_all_who_wait_for_its_step() -> None:
    """However often they look: nothing in it has changed."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("holds", once=False, seconds=1000)).run
        await asyncio.sleep(1)
        store = type(bench.engine.services.store)
        newest, read = store.newest, list[str]()

        async def counted(self: Any, header: Header) -> Any:
            read.append(header.run)
            return await newest(self, header)

        with patch.object(store, "newest", counted):
            waiting = [await bench.start("looks") for _ in range(3)]
            await asyncio.sleep(60)
        assert read == [run]
        await bench.engine.kill(run)
        assert [await bench.result(each.run) for each in waiting] == [None] * 3

    virtually([holds, looks, looking], body)


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

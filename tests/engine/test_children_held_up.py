"""Who is cancelled, and the children that cannot go on: paused, stuck, or cleaning up for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import block, parallel, race, sleep, workflow
from rewake.engine.engine import Engine
from rewake.states import RunState
from tests.engine.test_children import both, child_ids
from tests.support.virtual import Bench, die, virtually

BROKEN: set[str] = set()
"""What a child waits for in vain, until a test mends it."""
TOLD: list[str] = []


async def passes(what: str) -> None:
    """Be stuck while this is broken."""
    if what in BROKEN:
        await asyncio.Event().wait()


@workflow
async def child() -> str:
    try:
        await sleep(10)
        await passes("body")
        await sleep(1000)
    except asyncio.CancelledError:
        await passes("cleanup")
        await sleep(1)
        TOLD.append("cleaned up")
        raise
    return "done"


@workflow
async def waits() -> str:
    try:
        return await child()
    except asyncio.CancelledError:
        TOLD.append("parent")
        raise


@workflow
async def endless() -> None:
    try:
        await sleep(10**6)
    finally:
        await sleep(10**6)


@workflow
async def many(how: str) -> object:
    async def one(_: object = None) -> None:
        await endless()

    match how:
        case "parallel":
            return await parallel(range(2), one, concurrency=1)
        case "race":
            return await race(endless(), sleep(10**6))
        case "block":
            return await block("group", one)
        case "left in a block":

            async def leaves() -> None:
                asyncio.create_task(one())  # noqa: RUF006 - it is left to the block's end
                await sleep(10**6)

            return await block("group", leaves)
        case _:
            return await asyncio.gather(endless(), endless())


def run(body: Any, table: str = "memory", cached: int = 256) -> None:
    BROKEN.clear()
    TOLD.clear()
    virtually([child, waits, endless, many], body, table=table, cached=cached)


async def states(bench: Bench, parent: str) -> list[RunState]:
    """Of a parent, and of its child."""
    return [(await bench.engine.get(each)).state for each in (parent, *await of(bench, parent))]


async def of(bench: Bench, parent: str) -> list[str]:
    return list(dict.fromkeys(await child_ids(bench, parent)))


@both
def test_a_paused_child_is_cancelled_with_its_parent(table: str, cached: int) -> None:
    """The request ends the pause, as that of a person does."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("waits")
        await asyncio.sleep(5)
        (paused,) = await of(bench, parent.run)
        await bench.engine.pause(paused)
        await bench.engine.cancel(parent.run)
        await asyncio.sleep(5)
        assert TOLD == ["cleaned up", "parent"]
        assert await states(bench, parent.run) == [RunState.CANCELLED] * 2

    run(body, table, cached)


@both
@pytest.mark.parametrize("where", ["body", "cleanup"])
def test_a_stuck_child_holds_up_no_cancelled_parent(table: str, cached: int, where: str) -> None:
    """The parent is told that its cleanup cannot run; that runs once the child is resumed."""

    async def body(bench: Bench) -> None:
        BROKEN.add(where)
        parent = await bench.start("waits")
        await asyncio.sleep(20)
        is_stuck = where == "body"
        assert await states(bench, parent.run) == [
            RunState.PARKED,
            RunState.STUCK if is_stuck else RunState.PARKED,
        ]
        await bench.engine.cancel(parent.run)
        await asyncio.sleep(10)
        assert await states(bench, parent.run) == [RunState.CANCELLED, RunState.STUCK]
        assert TOLD == ["parent"]
        BROKEN.clear()
        (stuck,) = await of(bench, parent.run)
        await bench.engine.resume(stuck)
        await asyncio.sleep(5)
        assert await states(bench, parent.run) == [RunState.CANCELLED] * 2
        assert TOLD == ["parent", "cleaned up"]

    run(body, table, cached)


def test_who_waits_for_a_stuck_child_waits_on() -> None:
    """Unless somebody has asked it to cancel, it may be mended and end well."""

    async def body(bench: Bench) -> None:
        BROKEN.add("body")
        parent = await bench.start("waits")
        await asyncio.sleep(100)
        assert await states(bench, parent.run) == [RunState.PARKED, RunState.STUCK]
        BROKEN.clear()
        (stuck,) = await of(bench, parent.run)
        await bench.engine.resume(stuck)
        assert await bench.result(parent.run) == "done"

    run(body)


def test_a_child_that_got_stuck_as_its_process_died_is_told_of() -> None:
    """That it is stuck is due until whoever waits for its cleanup knows."""

    async def body(bench: Bench) -> None:
        other: Engine = bench.another()
        BROKEN.add("cleanup")
        parent = await bench.start("waits")
        await asyncio.sleep(5)
        store: Any = bench.engine.services.store
        stick = store.stick

        async def last(*args: Any, **more: Any) -> Any:
            done = await stick(*args, **more)
            die(bench.engine)
            return done

        store.stick = last
        await bench.engine.cancel(parent.run)
        await asyncio.sleep(1)
        other.open()
        bench.engine = other
        await asyncio.sleep(100)
        assert await states(bench, parent.run) == [RunState.CANCELLED, RunState.STUCK]

    run(body)


@pytest.mark.parametrize("how", ["gather", "parallel", "race", "block", "left in a block"])
def test_a_second_request_frees_a_group(how: str) -> None:
    """What ends its branches passes on a further request to cancel to those that still wait."""

    async def body(bench: Bench) -> None:
        parent = await bench.start("many", how=how)
        await asyncio.sleep(5)
        for state in (RunState.PARKED, RunState.CANCELLED):
            await bench.engine.cancel(parent.run)
            await asyncio.sleep(5)
            assert (await bench.engine.get(parent.run)).state is state

    run(body)

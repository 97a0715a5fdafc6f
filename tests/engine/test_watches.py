"""Events that cancel runs which have ended, are stuck, were forked, or have other arguments."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake import continue_as_new, debounce, event, sleep, step, wait_for_event, workflow
from rewake.engine.outside.events import Events
from rewake.records import Header
from rewake.states import RunState
from rewake.stores.events import Index
from rewake.values.matching import index_of, texts_of
from tests.support.virtual import SECRET, Bench, virtually

broken: list[bool] = []


def _fail() -> None:
    if broken:
        raise ValueError("broken")


@workflow(cancel_on=event("stop", where={"order": "order"}))
async def ships(order: int) -> str:
    await sleep(10)
    await step("pack", _fail)
    await sleep(100)
    return "shipped"


@workflow(cancel_on=event("stop", where={"order": "order"}))
async def renews(order: int) -> None:
    await sleep(10)
    if order < 100:
        continue_as_new(order + 1)


@workflow(cancel_on=event("stop", where={"order": "order"}))
async def waits(order: int) -> Any:
    return await wait_for_event("paid", where={"order": order})


async def known(bench: Bench, name: str, order: int) -> int:
    """How many subscriptions there are to an event of this order."""
    index = Index(name, index_of(SECRET, name, texts_of({"order": order})))
    found = bench.engine.services.store.events.subscriptions(index)
    return sum([len(page) async for page in found])


async def told(bench: Bench, order: int) -> None:
    await Events(bench.engine).publish("stop", {"order": order})
    await asyncio.sleep(1)


async def state_of(bench: Bench, run: Header) -> RunState:
    return (await bench.engine.get(run.run)).state


def test_a_run_that_is_retried_is_cancelled() -> None:
    """Its end has taken it out of the index: whoever lets it go on puts it there again."""

    async def body(bench: Bench) -> None:
        broken[:] = [True]
        run = await bench.start("ships", order=1)
        await asyncio.sleep(20)
        assert await state_of(bench, run) is RunState.FAILED
        assert await known(bench, "stop", 1) == 0
        broken.clear()
        await bench.engine.retry(run.run)
        await told(bench, 1)
        assert await state_of(bench, run) is RunState.CANCELLED

    virtually([ships], body)


def test_a_fork_is_cancelled_as_the_run_that_it_was() -> None:
    """It has the same arguments, so an event is about both."""

    async def body(bench: Bench) -> None:
        broken.clear()
        run = await bench.start("ships", order=1)
        await asyncio.sleep(20)
        fork = await bench.engine.fork(run.run, "sleep.2")
        await told(bench, 1)
        assert await state_of(bench, run) is await state_of(bench, fork) is RunState.CANCELLED

    virtually([ships], body)


def test_a_lap_is_cancelled_by_its_own_arguments() -> None:
    """Not by those of an earlier one, also if a death has left the index of that behind."""

    async def body(bench: Bench) -> None:
        run = await bench.start("renews", order=1)
        workflow = bench.engine.services.app.workflow("renews")
        await asyncio.sleep(25)
        assert [await known(bench, "stop", order) for order in range(5)] == [0, 0, 0, 1, 0]
        await bench.engine.services.events.watches.make(run.run, workflow, {"order": 1})
        await told(bench, 1)
        assert await state_of(bench, run) is RunState.PARKED
        assert await known(bench, "stop", 1) == 0
        await told(bench, 3)
        assert await state_of(bench, run) is RunState.CANCELLED
        assert await known(bench, "stop", 3) == 0

    virtually([renews], body)


@workflow(
    debounce=debounce(5, key=lambda customer, order: customer),
    cancel_on=event("stop", where={"order": "order"}),
)
async def packs(customer: str, order: int) -> int:
    await sleep(100)
    return order


def test_a_run_that_has_gathered_is_cancelled_by_what_came_last() -> None:
    """It begins with the arguments of that, and an event about those before is none about it."""

    async def body(bench: Bench) -> None:
        one = await bench.start("packs", customer="ada", order=1)
        await asyncio.sleep(1)
        assert (await bench.start("packs", customer="ada", order=2)).run == one.run
        await told(bench, 1)
        await asyncio.sleep(10)
        assert await state_of(bench, one) is RunState.PARKED
        await told(bench, 2)
        assert await state_of(bench, one) is RunState.CANCELLED

    virtually([packs], body)


def test_a_stuck_run_is_cancelled_as_it_goes_on() -> None:
    """Nobody publishes the event a second time for it."""
    wrong: list[bool] = []

    @workflow(cancel_on="stop")
    async def odd() -> None:
        await step("other" if wrong else "one", lambda: None)
        await sleep(5)

    async def body(bench: Bench) -> None:
        run = await bench.start("odd")
        await asyncio.sleep(0.1)
        bench.engine.services.cache.clear()
        wrong.append(True)
        await asyncio.sleep(10)
        await told(bench, 1)
        assert await state_of(bench, run) is RunState.STUCK
        wrong.clear()
        await bench.engine.resume(run.run)
        await asyncio.sleep(0.1)
        assert await state_of(bench, run) is RunState.CANCELLED

    virtually([odd], body)


def test_of_a_killed_run_no_event_finds_anything() -> None:
    """Neither its waits nor its watch; who killed it takes them away, or a sweep."""

    async def body(bench: Bench) -> None:
        for sweeps in (False, True):
            run = await bench.start("waits", order=1)
            await asyncio.sleep(1)
            assert (await known(bench, "stop", 1), await known(bench, "paid", 1)) == (1, 1)
            store: Any = bench.engine.services.store
            left = store.cancel_left
            if sweeps:
                store.cancel_left = _dies
                killing = asyncio.ensure_future(bench.engine.kill(run.run))
                await asyncio.sleep(1)
                killing.cancel()
                store.cancel_left = left
                await asyncio.sleep(20)
            else:
                await bench.engine.kill(run.run)
            assert (await known(bench, "stop", 1), await known(bench, "paid", 1)) == (0, 0)

    virtually([waits], body)


async def _dies(*_: Any) -> None:
    await asyncio.Event().wait()

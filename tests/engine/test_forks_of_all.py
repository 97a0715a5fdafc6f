"""Forks of runs that use each primitive: laps, blocks, limits, branches, children, signals."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    approval,
    block,
    callback,
    concurrency,
    continue_as_new,
    emit,
    parallel,
    set_labels,
    set_status,
    sleep,
    step,
    task,
    task_context,
    wait_for_event,
    wait_for_signal,
    wait_until,
    workflow,
)
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.callbacks import Callbacks
from rewake.engine.outside.events import Events
from rewake.engine.outside.signals import Signals
from rewake.engine.runs.listing import Wanted
from rewake.records import Header, Scheduled
from rewake.states import RunState
from tests.support.virtual import Bench, virtually

begun: list[str] = []
told: list[Any] = []


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()
    told.clear()


@task(retries=0)
async def work(name: str) -> str:
    begun.append(name)
    return name


@workflow
async def laps(last: int = 3, number: int = 1) -> list[Any]:
    await emit(number)
    first = await work(f"a{number}")
    inline = await step("inline", lambda: number)
    await sleep(5)
    second = await work(f"b{number}")
    if number < last:
        continue_as_new(last, number + 1)
    return [first, inline, second]


@workflow(retries=2, delay=1)
async def begins_anew() -> str:
    key = await step("which", lambda: task_context().key)
    if not key.startswith("lap3"):
        raise RuntimeError(key)
    return await work(key)


@workflow(limits=[concurrency(1, key=lambda: "one")])
async def limited() -> list[str]:
    first = await work("a")
    await sleep(50)
    return [first, await work("b")]


@workflow
async def in_blocks() -> list[Any]:
    async def inside() -> list[str]:
        first = await work("a")
        await sleep(1)
        return [first, await work("b")]

    return [await block("one", inside), await block("two", inside), await work("c")]


@workflow
async def in_branches() -> list[Any]:
    async def branch(number: int) -> str:
        await work(f"a{number}")
        await sleep(number)
        if number == 1:
            raise ValueError(number)
        return await work(f"b{number}")

    outcomes = await parallel(range(4), branch, concurrency=2, outcomes=True)
    return [*(each.state for each in outcomes), await work("c")]


@workflow
async def child(name: str) -> str:
    return await work(name)


@workflow
async def with_children() -> list[str]:
    first = await child("a")
    other = await child.start("b")
    return [first, await work("c"), await other.result()]


@workflow
async def polls() -> list[Any]:
    async def check(state: int) -> int:
        return state + 1

    found = await wait_until(check, every=5, state=0, done=lambda state: state == 3)
    return [found, await work("a")]


PROGRAMS = [laps, begins_anew, limited, in_blocks, in_branches, with_children, polls]
ALL = [*PROGRAMS, child, work]


async def keys_of(bench: Bench, run: str) -> list[str]:
    _, history = await bench.engine.history(run)
    return [each.key for each in history.entries if isinstance(each, Scheduled)]


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda program: program.name)
def test_a_fork_at_any_operation_comes_to_the_same(program: Any, cached: int) -> None:
    """Whatever a run uses, and in whichever lap it is; the later it is forked, the less is done."""

    async def body(bench: Bench) -> None:
        run = (await bench.start(program.name)).run
        result, done = await bench.result(run), len(begun)
        for key in await keys_of(bench, run):
            begun.clear()
            made = await bench.engine.fork(run, key)
            assert await bench.result(made.run) == result
            assert len(begun) <= done
            done = len(begun)
            again = {*await keys_of(bench, made.run), "lap3/retry"}  # whose wait is over
            assert again == {*await keys_of(bench, run), "lap3/retry"}

    virtually(ALL, body, cached=cached)


@workflow
async def hears() -> list[str]:
    first = await wait_for_signal("go", type=str)
    return [first, await work("a"), await wait_for_signal("go", type=str)]


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_signals_are_of_the_run_that_they_were_sent_to(cached: int) -> None:
    """What was taken before a fork stands in it, also by its id; what waits still is not copied."""

    async def body(bench: Bench) -> None:
        signals = Signals(bench.engine)
        run = (await bench.start("hears")).run
        for text in ("one", "two", "three"):
            await signals.send(run, "go", text, id=text)
        assert await bench.result(run) == ["one", "a", "two"]
        made = (await bench.engine.fork(run, "work")).run
        await asyncio.sleep(100)
        assert (await bench.engine.get(made)).state is RunState.PARKED
        await signals.send(made, "go", "one", id="one")
        await asyncio.sleep(100)
        assert (await bench.engine.get(made)).state is RunState.PARKED
        await signals.send(made, "go", "two", id="two")
        assert await bench.result(made) == ["one", "a", "two"]

    virtually([hears, work], body, cached=cached)


@task
async def tell(said: Any) -> None:
    told.append(said)


@workflow
async def slow_child() -> str:
    await sleep(60)
    return await work("child")


@workflow
async def with_a_tied_child() -> str:
    tied = await slow_child.start(on_parent_end="cancel")
    await work("a")
    await sleep(5)
    return await tied.result()


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_the_end_of_a_fork_cancels_no_child_of_the_other_run(cached: int) -> None:
    """It was begun before the fork was: that ends at once, and the other run as it would have."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("with_a_tied_child")).run
        await asyncio.sleep(6)
        made = (await bench.engine.fork(run, "sleep")).run
        await asyncio.sleep(1)
        await bench.engine.cancel(made)
        await asyncio.sleep(10)
        assert (await bench.engine.get(made)).state is RunState.CANCELLED
        assert await bench.result(run) == "child"

    virtually([with_a_tied_child, slow_child, work], body, cached=cached)


@workflow
async def hands_links_on() -> list[str]:
    call = callback("call")
    await tell(call.url)
    ask = approval("ask", approvers=["ann"], notify=tell)
    found = [await call, (await ask).decision.value]
    return [*found, await work("a")]


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
def test_a_fork_behind_a_link_that_was_handed_on_goes_on(cached: int) -> None:
    """Its body has other links there; what it was called with is not taken for other code."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("hands_links_on")).run
        await asyncio.sleep(5)
        await Callbacks(bench.engine).complete(told[0].rpartition("/")[2], "called")
        said = Approval(Decision.APPROVED, None, "ann")
        await Approvals(bench.engine).decide(run, "ask", said)
        result = await bench.result(run)
        assert result == ["called", "approved", "a"]
        made = await bench.engine.fork(run, "work")
        assert await bench.result(made.run) == result
        assert len([each for each in told if isinstance(each, str)]) == 1
        again = await bench.engine.fork(made.run, "work")
        assert await bench.result(again.run) == result

    virtually([hands_links_on, tell, work], body, cached=cached, url="https://app.example")


@workflow(limits=concurrency(1, name="listens"))
async def listens() -> list[Any]:
    async def works() -> str:
        await sleep(5)
        return await work("a")

    return list(await asyncio.gather(wait_for_event("news"), works()))


def test_a_fork_that_waits_for_its_place_hears_what_its_run_waited_for() -> None:
    """The wait that it has a copy of is made known once it is let in, as at a first turn."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("listens")).run
        await asyncio.sleep(10)
        made = (await bench.engine.fork(run, "works[0]/work")).run
        await asyncio.sleep(10)
        await Events(bench.engine).publish("news", 1)
        first, second = await bench.result(run), await bench.result(made, 100)
        assert [first[0], first[1]] == [second[0], second[1]] == [1, "a"]

    virtually([listens, work], body)


@workflow(cancel_on="stop")
async def shows() -> None:
    set_labels(stage="one")
    set_status("begun")
    await work("a")
    await sleep(100)
    await sleep(100)


Again = Callable[[Bench, str], Awaitable[Header]]


async def forked(bench: Bench, run: str) -> Header:
    return await bench.engine.fork(run, "sleep")


async def rerun(bench: Bench, run: str) -> Header:
    return await bench.engine.rerun(run)


@pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
@pytest.mark.parametrize(
    "again",
    [
        lambda bench, run: bench.engine.fork(run, "sleep"),
        lambda bench, run: bench.engine.rerun(run),
    ],
    ids=["fork", "rerun"],
)
def test_it_is_found_shown_and_cancelled_as_the_first_run_is(again: Again, cached: int) -> None:
    """By the labels of its start and of its body; and it ends by the same events."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        run, _ = await engine.start("shows", {}, labels={"customer": "c1"})
        await asyncio.sleep(5)
        made = await again(bench, run.run)
        await asyncio.sleep(5)
        found = await engine.get(made.run)
        assert found.labels == {"customer": "c1", "stage": "one"}
        assert found.status is not None
        for labels in found.labels.items():
            listed, _ = await engine.listing.page(Wanted(labels=dict([labels])), 9, None)
            assert {each.run for each in listed} == {run.run, made.run}
        await engine.services.events.publish("stop", {}, id="e", by="")
        await asyncio.sleep(5)
        assert (await engine.get(made.run)).state is RunState.CANCELLED

    virtually([shows, work], body, cached=cached)

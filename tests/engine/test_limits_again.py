"""Runs that go on after all, and limits: they and their tasks wait as any other do."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from unittest.mock import patch

import pytest

from rewake import concurrency, continue_as_new, rate, singleton, sleep, step, task, workflow
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.records import Invocation
from rewake.states import RunState
from rewake.stores.answers import Refused, Taken, TaskClaim
from rewake.stores.limits import Limits
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

begun: list[int] = []
_emptied = emptied(begun)


def begin(n: int) -> None:
    begun.append(n)
    if n == 0 and begun.count(0) == 1:
        raise ValueError("not yet")


async def failing_once(n: int) -> int:
    begin(n)
    await asyncio.sleep(10)
    return n


@task(limits=rate(1, per=60))
async def seldom(n: int) -> int:
    """A task that may begin once a minute."""
    return await failing_once(n)


@task(limits=concurrency(1))
async def alone(n: int) -> int:
    """A task of which one is under way."""
    return await failing_once(n)


@task(limits=[concurrency(1, name="first"), concurrency(1, name="second")])
async def both(n: int) -> int:
    """A task that needs two places, and takes them in this order."""
    return await failing_once(n)


@workflow(limits=[concurrency(1, name="first"), concurrency(1, name="second")])
async def within_both(n: int) -> int:
    """A run that does."""
    await sleep(10)
    return n


@workflow
async def goes_on(n: int) -> int:
    """A run that has more to do behind its task."""
    made = await alone(n)
    await sleep(3600)
    return made


@task(limits=concurrency(1, name="second"))
async def later(n: int) -> int:
    await asyncio.sleep(30)
    return n


@workflow
async def asks(which: str, n: int) -> int:
    return await {"seldom": seldom, "alone": alone, "both": both, "later": later}[which](n)


@workflow
async def endless(n: int = 1) -> int:
    await alone(n)
    await sleep(10)
    continue_as_new(n + 1)


@workflow(singleton=singleton("cancel"))
async def newest(n: int) -> int:
    await step("begin", lambda: begin(n))
    try:
        await sleep(30)
    finally:
        await sleep(20)
    return n


async def failed(bench: Bench, which: str) -> str:
    """A run that has failed."""
    first = await bench.start("asks", which=which, n=0)
    with pytest.raises(Ended):
        await bench.result(first.run)
    return first.run


@pytest.mark.parametrize("table", TABLES)
def test_a_retry_reserves_one_moment_of_a_rate(table: str) -> None:
    """It begins then, and takes none from what comes after it."""

    async def body(bench: Bench) -> None:
        run = await failed(bench, "seldom")
        await bench.engine.retry(run)
        await asyncio.sleep(20)
        other = await bench.start("asks", which="seldom", n=1)
        assert await bench.result(run, 60) == 0
        assert 60 <= bench.seconds < 80
        assert await bench.result(other.run, 70) == 1

    virtually([asks, seldom, alone], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_a_retry_has_its_place_in_line(table: str) -> None:
    """Who comes later is let in after it, though some wait all the time."""

    async def body(bench: Bench) -> None:
        run = await failed(bench, "alone")
        runs = [await bench.start("asks", which="alone", n=n) for n in (1, 2)]
        await asyncio.sleep(1)
        await bench.engine.retry(run)
        await asyncio.sleep(1)
        runs += [await bench.start("asks", which="alone", n=n) for n in (3, 4)]
        assert await bench.result(run, 100) == 0
        assert [await bench.result(each.run, 100) for each in runs] == [1, 2, 3, 4]
        assert begun == [0, 1, 2, 0, 3, 4]

    virtually([asks, seldom, alone], body, table=table)


def test_a_retry_keeps_the_place_that_it_was_let_in_to() -> None:
    """A look at the limit before it begins does not take what came of it before for its end."""

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run, claims = await failed(bench, "alone"), services.claims
        begin = claims.task

        async def looked_at(claim: TaskClaim) -> Taken | Refused:
            [limit], _ = await services.store.limits(limit=9, cursor=None)
            await services.limits.check(limit, services.clock.now())
            return await begin(claim)

        claims.task = looked_at  # type: ignore[method-assign]
        await bench.engine.retry(run)
        await asyncio.sleep(5)
        assert begun == [0, 0]
        [limit], _ = await services.store.limits(limit=9, cursor=None)
        assert [each.run for each in limit.holders] == [run]

    virtually([asks, seldom, alone], body)


def test_a_singleton_that_is_retried_takes_the_place_of_none() -> None:
    """A run that failed long ago waits for the newest, also for one that has not begun yet."""

    async def body(bench: Bench) -> None:
        old = await bench.start("newest", n=0)
        with pytest.raises(Ended):
            await bench.result(old.run)
        older = await bench.start("newest", n=1)
        await asyncio.sleep(5)
        new = await bench.start("newest", n=2)
        await asyncio.sleep(1)
        await bench.engine.retry(old.run)
        assert await bench.result(new.run, 100) == 2
        assert await bench.result(old.run, 100) == 0
        assert (await bench.engine.get(older.run)).state is RunState.CANCELLED
        assert begun == [0, 1, 2, 0]

    virtually([newest], body)


def test_a_singleton_that_is_resumed_takes_the_place_of_none() -> None:
    """A run that was paused before it began waits for one that was started after it."""

    async def body(bench: Bench) -> None:
        await bench.start("newest", n=5)
        await asyncio.sleep(5)
        paused = await bench.start("newest", n=1)
        await asyncio.sleep(1)
        await bench.engine.pause(paused.run)
        await asyncio.sleep(30)  # it was let in meanwhile, and did not come
        new = await bench.start("newest", n=2)
        await asyncio.sleep(1)
        await bench.engine.resume(paused.run)
        assert await bench.result(new.run, 100) == 2
        assert await bench.result(paused.run, 100) == 1
        assert begun == [5, 2, 1]

    virtually([newest], body)


@pytest.mark.parametrize("call", ["enter", "put_off"])
def test_who_stood_still_holds_no_place_for_a_lap_that_is_over(call: str) -> None:
    """It was about to be let in, or to wait in line, for a task that others have made since: the
    place would be held for as long as the run goes on, which would wait for it for ever.
    """

    async def body(bench: Bench) -> None:
        bench.another().open()
        write, stood_still = getattr(Limits, call), asyncio.Event()

        async def slow(*given: Any, **how: Any) -> Any:
            if not stood_still.is_set():
                stood_still.set()
                await asyncio.sleep(100)
            return await write(*given, **how)

        if call == "put_off":
            await bench.start("asks", which="alone", n=100)
            await asyncio.sleep(1)
        with patch.object(Limits, call, slow):
            run = await bench.start("endless")
            await asyncio.sleep(150)
        other = await bench.start("asks", which="alone", n=200)
        assert await bench.result(other.run, 100) == 200
        await asyncio.sleep(200)
        made = [n for n in begun if n < 100]
        assert made == list(range(1, made[-1] + 1))
        assert made[-1] >= 15
        await bench.engine.cancel(run.run)

    virtually([asks, seldom, alone, endless], body)


def test_who_dies_as_a_paused_task_gives_its_place_on_does_not_hide_it() -> None:
    """Its item says no more that it waits in a line in which it has no place, so that whoever
    resumes its run lets it queue up again.
    """

    async def body(bench: Bench) -> None:
        first = await bench.start("asks", which="alone", n=1)
        await asyncio.sleep(1)
        second = await bench.start("asks", which="alone", n=2)
        await asyncio.sleep(1)
        await bench.engine.pause(second.run)
        leave, died = Limits.leave, asyncio.Event()

        async def dying(self: Limits, id: str, holder: Any, *given: Any, **named: Any) -> Any:
            came = await leave(self, id, holder, *given, **named)
            if holder is not None and holder.run == second.run:
                die(bench.engine)
                died.set()
                await asyncio.Event().wait()
            return came

        with patch.object(Limits, "leave", dying):
            await asyncio.wait_for(died.wait(), 60)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(first.run, 100) == 1
        await bench.engine.resume(second.run)
        assert await bench.result(second.run, 100) == 2

    virtually([asks, seldom, alone], body)


@pytest.mark.parametrize("kind", ["task", "run"])
def test_who_lost_an_earlier_place_gives_a_later_one_back(kind: str) -> None:
    """It was let in to the second of its limits, and by then another one had its place in the
    first, who waits for the second: each would wait for the other for an hour.
    """
    limited = {"task": ("asks", {"which": "both"}), "run": ("within_both", {})}

    async def body(bench: Bench) -> None:
        name, more = limited[kind]
        before = await bench.start("asks", which="later", n=7)
        await asyncio.sleep(1)
        one = await bench.start(name, **more, n=1)
        await asyncio.sleep(1)
        store = bench.engine.services.store
        found, _ = await store.limits(limit=9, cursor=None)
        [first] = [each for each in found if each.name == "first"]
        [holder] = first.holders
        assert holder.run == one.run
        now = bench.engine.services.clock.now()
        await store.leave(first.id, holder, now, soon=now)
        other = await bench.start(name, **more, n=2)
        for run, n in ((before, 7), (one, 1), (other, 2)):
            assert await bench.result(run.run, 200) == n
        assert bench.seconds < 300

    virtually([asks, both, later, within_both], body)


def test_a_message_of_a_paused_run_is_not_sent_again_and_again() -> None:
    """Not that of a task which has ended, either: it came late, and went from server to server."""
    sent: list[Invocation] = []

    class Seen(InProcessDispatcher):
        async def dispatch(self, invocations: Sequence[Invocation]) -> None:
            sent.extend(each for each in invocations if each.key == "alone")
            await super().dispatch(invocations)

    async def body(bench: Bench) -> None:
        run = (await bench.start("goes_on", n=1)).run
        await asyncio.sleep(20)
        late = sent[0]
        await bench.engine.pause(run)
        await asyncio.sleep(1)
        sent.clear()
        await bench.engine.services.dispatcher.dispatch([late])
        await asyncio.sleep(60)
        assert len(sent) < 3
        await bench.engine.resume(run)
        assert await bench.result(run, 7200) == 1

    virtually([alone, goes_on], body, carrier=Seen)

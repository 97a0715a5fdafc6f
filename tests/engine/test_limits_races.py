"""Limits, where two processes act on one task or run at the same moment."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from rewake import concurrency, rate, sleep, step, task, workflow
from rewake.app import App
from rewake.engine.limits.limits import LAST, _message
from rewake.records import Header, Invocation
from rewake.stores.answers import TaskClaim
from rewake.tags import Served
from tests.support.emptied import emptied
from tests.support.virtual import Bench, virtually

FIRST, SECOND = concurrency(1, name="first"), concurrency(1, name="second")
begun: list[int] = []
_emptied = emptied(begun)


@task(limits=FIRST, retries=1, delay=30)
async def tried(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    if n == 0 and begun.count(0) == 1:
        raise ValueError("not yet")
    return n


@task(limits=[FIRST, SECOND], tag="gpu")
async def both(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    begun.append(-n)
    return n


@task(limits=SECOND)
async def one(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    begun.append(-n)
    return n


@task(limits=[SECOND, rate(1, per=600)])
async def rare(n: int, seconds: float) -> int:
    begun.append(n)
    return n


@task(limits=FIRST, cache=600)
async def kept(n: int, seconds: float) -> int:
    begun.append(n)
    await asyncio.sleep(seconds)
    return n


@workflow
async def asks(which: str, n: int, seconds: float) -> int:
    tasks = {"tried": tried, "both": both, "one": one, "kept": kept, "rare": rare}
    return await tasks[which](n, seconds)


def begin(n: int) -> None:
    begun.append(n)
    if n == 0 and begun.count(0) == 1:
        raise ValueError("not yet")


async def _within(n: int, seconds: float) -> int:
    await step("begins", lambda: begin(n))
    await sleep(seconds)
    await step("ends", lambda: begun.append(-n))
    return n


@workflow(limits=FIRST)
async def within_first(n: int, seconds: float) -> int:
    return await _within(n, seconds)


@workflow(limits=SECOND)
async def within_second(n: int, seconds: float) -> int:
    return await _within(n, seconds)


@workflow(limits=[FIRST, SECOND])
async def within_both(n: int, seconds: float) -> int:
    return await _within(n, seconds)


ALL = [asks, tried, both, one, rare, within_first, within_second, within_both]


def test_a_look_that_comes_late_hides_no_retry() -> None:
    """Who found a task in its line, and stood still, does not put the next look at it off, which is
    one at its retry by then.
    """

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        holder, _ = await other.start("asks", {"which": "tried", "n": 1, "seconds": 2_000})
        await asyncio.sleep(1)
        run = await bench.start("asks", which="tried", n=0, seconds=1)
        await asyncio.sleep(1_990)
        store: Any = bench.engine.services.store
        [limit], _ = await store.limits(limit=9, cursor=None)
        [waiter] = await store.line(limit.id, 9)
        enter = store.enter

        async def slow(*given: Any, **named: Any) -> Any:
            entry = await enter(*given, **named)
            await asyncio.sleep(20)
            return entry

        store.enter = slow
        await bench.engine.handle(_message(waiter))
        store.enter = enter
        assert await bench.result(holder.run, 10) == 1
        assert await bench.result(run.run, 100) == 0

    virtually(ALL, body)


@pytest.mark.parametrize("kind", ["task", "run"])
def test_no_place_is_taken_from_who_begins_at_that_moment(kind: str) -> None:
    """It was let in to all of its limits, and its process stood still before that was written."""
    is_run = kind == "run"
    names = ("within_first", "within_both", "within_second") if is_run else ("asks",) * 3
    more = [{}] * 3 if is_run else [{"which": each} for each in ("tried", "both", "one")]

    async def body(bench: Bench) -> None:
        services, stood = bench.engine.services, asyncio.Event()
        store: Any = services.store
        of, call = (store, "let_begin") if is_run else (services.claims, "task")
        begin = getattr(of, call)

        async def slow(*given: Any, **named: Any) -> Any:
            stood.set()
            await asyncio.sleep(29)
            return await begin(*given, **named)

        await bench.start(names[0], **more[0], n=1, seconds=5)
        await asyncio.sleep(1)
        run = await bench.start(names[1], **more[1], n=2, seconds=40)
        await asyncio.sleep(1)
        setattr(of, call, slow)
        await asyncio.wait_for(stood.wait(), 30)
        setattr(of, call, begin)
        other = bench.another(served=Served())
        other.open()
        last, _ = await other.start(names[2], {**more[2], "n": 3, "seconds": 40})
        assert await bench.result(run.run, 200) == 2
        assert await bench.result(last.run, 200) == 3
        order = [n for n in begun if abs(n) > 1]
        assert order in ([2, -2, 3, -3], [3, -3, 2, -2]), order

    virtually(ALL, body, served=Served(frozenset({"gpu"})))


def test_no_place_is_taken_from_who_begins_once_its_run_is_resumed() -> None:
    """Who found the run paused gives back what it finds of its task, also what another process was
    let in to since.
    """

    async def body(bench: Bench) -> None:
        other, found, left = bench.another(), asyncio.Event(), asyncio.Event()
        runs = [
            await bench.start("asks", which="one", n=n, seconds=s)
            for n, s in ((1, 10), (2, 40), (3, 40))
        ]
        await asyncio.sleep(1)
        store: Any = bench.engine.services.store
        [second], _ = await store.limits(limit=9, cursor=None)
        [waiter] = [w for w in await store.line(second.id, 9) if w.run == runs[1].run]
        limit, claim = store.limit, other.services.claims.task

        async def late(*given: Any, **named: Any) -> Any:
            if asyncio.current_task() is handling:
                await found.wait()
            return await limit(*given, **named)

        async def slow(*given: Any, **named: Any) -> Any:
            found.set()
            await left.wait()
            return await claim(*given, **named)

        await bench.engine.pause(runs[1].run)
        store.limit, other.services.claims.task = late, slow  # type: ignore[method-assign]
        handling = asyncio.ensure_future(bench.engine.handle(_message(waiter)))
        await asyncio.sleep(11)
        other.open(sweep=False)
        await other.resume(runs[1].run)
        begins = asyncio.ensure_future(other.handle(_message(waiter)))
        await handling
        await asyncio.sleep(1)
        left.set()
        await begins
        assert [await bench.result(each.run, 200) for each in runs] == [1, 2, 3]
        assert begun == [1, -1, 3, -3, 2, -2]

    virtually(ALL, body)


def test_a_run_that_is_paused_as_its_task_is_let_in_keeps_no_place() -> None:
    """Its task begins no attempt, which others would wait for as long as the run is paused."""

    async def body(bench: Bench) -> None:
        claims: Any = bench.engine.services.claims
        claim, let_in, paused = claims.task, asyncio.Event(), asyncio.Event()

        async def slow(*given: Any) -> Any:
            let_in.set()
            await paused.wait()
            return await claim(*given)

        claims.task = slow
        first = await bench.start("asks", which="one", n=1, seconds=10)
        await let_in.wait()
        await bench.engine.pause(first.run)
        paused.set()
        second = await bench.start("asks", which="one", n=2, seconds=10)
        assert await bench.result(second.run, 12) == 2
        await bench.engine.resume(first.run)
        assert await bench.result(first.run, 12) == 1

    virtually(ALL, body)


def test_who_was_let_in_as_another_put_it_off_for_long_keeps_no_place() -> None:
    """Two were told of it at once, and the second has reserved another moment for it."""

    async def body(bench: Bench) -> None:
        claims: Any = bench.engine.services.claims
        other, claim, put_off = bench.another(), claims.task, list[str]()
        other.open(sweep=False)

        async def late(wanted: TaskClaim) -> Any:
            if not put_off:
                put_off.append(wanted.run)
                asked = Invocation(wanted.run, wanted.key, wanted.name)
                await other.handle(msgspec.structs.replace(asked, terms=wanted.terms))
            return await claim(wanted)

        claims.task = late
        first = await bench.start("asks", which="rare", n=1, seconds=1)
        await asyncio.sleep(1)
        second = await bench.start("asks", which="one", n=2, seconds=10)
        assert await bench.result(second.run, 12) == 2
        assert await bench.result(first.run, 600) == 1
        assert put_off == [first.run]

    virtually(ALL, body)


def test_who_was_let_in_as_another_put_it_off_begins_at_once() -> None:
    """Its places are given back, as its mark is another by now, and it asks for them again: also of
    this process, once it has given them back.
    """

    async def body(bench: Bench) -> None:
        let_in, (own, other) = asyncio.Event(), bench.share_messages(2)
        bench.takers = itertools.repeat(own)
        store: Any = bench.engine.services.store
        put_off, claim = store.put_off, other.services.claims.task

        async def late(*given: Any, **named: Any) -> Any:
            await let_in.wait()
            return await put_off(*given, **named)

        async def slow(*given: Any, **named: Any) -> Any:
            if not let_in.is_set():
                let_in.set()
                await asyncio.sleep(1)
            return await claim(*given, **named)

        async def give_back(*given: Any) -> None:
            await asyncio.sleep(0.05)
            await done(*given)

        limits: Any = other.services.limits
        done, limits.done = limits.done, give_back
        store.put_off, other.services.claims.task = late, slow  # type: ignore[method-assign]
        runs = [await bench.start("asks", which="one", n=n, seconds=10) for n in (1, 2)]
        await asyncio.sleep(9)
        bench.takers = itertools.repeat(other)
        assert [await bench.result(each.run, 12) for each in runs] == [1, 2]
        assert begun == [1, -1, 2, -2]

    virtually(ALL, body)


@pytest.mark.parametrize("which", ["one", "both"])
def test_who_was_put_off_for_long_as_it_was_let_in_begins_at_once(which: str) -> None:
    """Also one with a tag, which is found by its due time: that is at once by then."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        store, claim, put_off = services.store, services.claims.task, list[bool]()

        async def late(wanted: TaskClaim) -> Any:
            if not put_off:
                found = await store.operation(wanted.run, wanted.key)
                asked = Invocation(wanted.run, wanted.key, wanted.name, tag=wanted.tag)
                asked = msgspec.structs.replace(asked, terms=wanted.terms)
                due = services.clock.now() + LAST
                kept = await store.put_off(asked, found, at=None, due=due, lease=30_000)
                put_off.append(kept is not None)
            return await claim(wanted)

        services.claims.task = late
        run = await bench.start("asks", which=which, n=1, seconds=10)
        assert await bench.result(run.run, 11) == 1
        assert put_off == [True]

    virtually(ALL, body, served=Served(frozenset({"gpu"})))


def test_who_has_ended_a_run_takes_no_place_from_its_retry() -> None:
    """Its process stood still before it gave back what the run had, which was let in anew since."""

    async def body(bench: Bench) -> None:
        limits, stood = bench.engine.services.limits, asyncio.Event()
        leave, goes_on = limits.leave, asyncio.Event()

        async def slow(header: Header) -> None:
            stood.set()
            await goes_on.wait()
            await leave(header)

        limits.leave = slow  # type: ignore[method-assign]
        run = await bench.start("within_second", n=0, seconds=40)
        await asyncio.wait_for(stood.wait(), 30)
        other = bench.another()
        other.open()
        await other.retry(run.run)
        await asyncio.sleep(5)
        last, _ = await other.start("within_second", {"n": 3, "seconds": 40})
        await asyncio.sleep(1)
        goes_on.set()
        assert [await bench.result(each, 200) for each in (run.run, last.run)] == [0, 3]
        assert begun == [0, 0, 0, 3, -3]

    virtually(ALL, body)


def test_a_place_is_given_back_in_a_backoff_by_all_clocks() -> None:
    """By that of another process the next attempt may have begun."""

    async def body(bench: Bench) -> None:
        await bench.start("asks", which="tried", n=0, seconds=1)
        await asyncio.sleep(0.5)
        services = bench.engine.services
        [limit], _ = await services.store.limits(limit=9, cursor=None)
        [holder] = limit.holders
        await asyncio.sleep(1)
        found = await services.store.operation(holder.run, holder.key)
        assert found is not None
        assert found.not_before is not None
        is_over, left = services.limits._is_over, found.not_before - services.clock.now()
        await asyncio.sleep((left - 300) / 1000)
        assert await is_over(holder)
        await asyncio.sleep(0.1)
        assert not await is_over(holder)
        assert await is_over(holder, ended=True)

    virtually(ALL, body)


def test_who_has_other_code_keeps_the_place_of_a_task_in_line() -> None:
    """It gives up what the task has of its cache, and what comes later comes in after it."""

    async def body(bench: Bench) -> None:
        own, bench._app = bench._app, App()

        @task(name="kept", limits=FIRST, cache=600)
        async def changed(n: int, seconds: float) -> int:
            return n + int(seconds)

        for each in (asks, tried, changed):
            bench._app.add(each)
        other, bench._app = bench.another(), own
        runs = []
        for n, which in ((1, "tried"), (2, "kept"), (3, "tried")):
            runs.append(await bench.start("asks", which=which, n=n, seconds=10))
            await asyncio.sleep(1)
        store = bench.engine.services.store
        found, _ = await store.limits(limit=9, cursor=None)
        [first] = [each for each in found if each.name == "first"]
        [waiter, _] = await store.line(first.id, 9)
        await other.handle(_message(waiter))
        assert [await bench.result(each.run, 100) for each in runs] == [1, 2, 3]
        assert begun == [1, 2, 3]

    virtually([*ALL, kept], body)


def test_a_run_that_a_limited_task_leads_to_is_released_as_its_process_ends() -> None:
    """Also while the places of the task are given back, before the run goes on."""

    async def body(bench: Bench) -> None:
        limits: Any = bench.engine.services.limits

        async def slow(*_: Any) -> None:
            await asyncio.sleep(20)

        limits.done = slow
        run = await bench.start("asks", which="one", n=1, seconds=1)
        await asyncio.sleep(5)
        other = bench.another()
        await bench.engine.close(0)
        assert begun == [1, -1]
        assert not (await other.get(run.run)).owner
        bench.engine = other
        other.open()
        assert await bench.result(run.run, 5) == 1

    virtually(ALL, body)

"""Limits of workflows: how many runs at once, how often, and singletons."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import (
    TaskError,
    by_tenant,
    concurrency,
    rate,
    singleton,
    sleep,
    step,
    task,
    wait_for_signal,
    workflow,
)
from rewake import now as now_
from rewake.engine.limits.limits import Limits
from rewake.engine.outside.signals import Signals
from rewake.errors import InvalidInput, StoreError, Throttled
from rewake.records import Header
from rewake.states import TERMINAL, RunState
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

now: Counter[str] = Counter()
most: Counter[str] = Counter()
order: list[int] = []
_emptied = emptied(now, most, order)
everywhere = pytest.mark.parametrize("table", TABLES)


async def counted(what: str, n: int = 0) -> None:
    def begin() -> None:
        order.append(n)
        now[what] += 1
        most[what] = max(most[what], now[what])

    def end() -> None:
        now[what] -= 1

    await step("begin", begin)
    try:
        await sleep(10)
    finally:
        await step("end", end)


@workflow(limits=concurrency(2))
async def few(n: int) -> int:
    await counted("few", n)
    return n


@workflow(limits=concurrency(1, key=by_tenant))
async def owned(n: int) -> int:
    await counted("owned", n)
    return n


@workflow(limits=rate(1, per=5))
async def slow(n: int) -> int:
    await step("begin", lambda: order.append(n))
    return n


@workflow(throttle=rate(2, per=60))
async def seldom(n: int) -> int:
    return await step("end", lambda: n)


@workflow(singleton="skip")
async def alone(n: int) -> int:
    await counted("alone", n)
    return n


@workflow(singleton=singleton("cancel", key=lambda customer: customer))
async def newest(customer: str, n: int) -> int:
    await counted(customer, n)
    return n


@workflow(limits=concurrency(1, key=lambda customer: {"a": 1}[customer]))
async def failing(customer: str) -> None:
    pass


@workflow(limits=concurrency(1))
async def broken(n: int) -> int:
    await sleep(1)
    if n == 0 and not order:
        order.append(1)
        raise ValueError("once")
    return n


@workflow
async def parent(n: int) -> list[int]:
    return list(await asyncio.gather(*(few(i) for i in range(n))))


@workflow
async def asking() -> list[str]:
    try:
        await alone(2)
    except TaskError as error:
        return [error.type, error.message.split(",")[0]]
    return []


@workflow(limits=concurrency(1))
async def napping(n: int) -> float:
    begun = now_()
    await sleep(10)
    return (now_() - begun).total_seconds()


members = [napping, asking, few, owned, slow, seldom, alone, newest, failing, broken, parent]


async def nobody(bench: Bench) -> None:
    """No place is taken, and nobody waits, soon after all has ended."""
    await asyncio.sleep(1)
    limits, _ = await bench.engine.services.store.limits(limit=100, cursor=None)
    assert not [limit for limit in limits if limit.holders]
    for limit in limits:
        assert not await bench.engine.services.store.line(limit.id, 10)


async def state(bench: Bench, header: Header) -> RunState:
    return (await bench.engine.get(header.run)).state


@everywhere
def test_no_more_runs_at_once_than_the_limit(table: str) -> None:
    """Of six runs two are let in at a time, in the order of their starts; sleeping ones count."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("few", n=n) for n in range(6)]
        assert [await bench.result(each.run) for each in runs] == list(range(6))
        assert (most["few"], order) == (2, list(range(6)))
        assert bench.seconds < 33
        await nobody(bench)

    virtually(members, body, table=table)


def test_each_tenant_has_a_limit_of_its_own() -> None:
    """Two tenants go on side by side; a tenant's second run waits for its first."""

    async def body(bench: Bench) -> None:
        runs = [
            (await bench.engine.start("owned", {"n": n}, tenant="ab"[n % 2]))[0] for n in range(4)
        ]
        assert [await bench.result(each.run) for each in runs] == list(range(4))
        assert most["owned"] == 2
        assert bench.seconds < 22

    virtually(members, body)


def test_runs_begin_at_the_moments_that_their_rate_reserves() -> None:
    """Four runs at one each five seconds have begun after fifteen."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("slow", n=n) for n in range(4)]
        assert [await bench.result(each.run) for each in runs] == list(range(4))
        assert order == list(range(4))
        assert 15 <= bench.seconds < 16

    virtually(members, body)


def test_a_throttled_start_is_refused() -> None:
    """The third start in a minute says when to try again; a start that is there is answered."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        first, _ = await engine.start("seldom", {"n": 0}, run="r0")
        await engine.start("seldom", {"n": 1}, run="r1")
        with pytest.raises(Throttled) as refused:
            await engine.start("seldom", {"n": 2}, run="r2")
        assert 0 < refused.value.seconds <= 30
        again, new = await engine.start("seldom", {"n": 0}, run="r0")
        assert (again.run, new) == (first.run, False)
        await asyncio.sleep(refused.value.seconds + 0.1)
        assert (await engine.start("seldom", {"n": 2}, run="r2"))[1]

    virtually(members, body)


def test_a_rerun_and_a_fork_are_starts_for_a_throttle() -> None:
    """They are refused as a start is, and nothing is made; one that is there is not refused."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        await engine.start("seldom", {"n": 0}, run="r0")
        await bench.result("r0")
        assert (await engine.fork("r0", "end", id="r1")).run == "r1"
        with pytest.raises(Throttled):
            await engine.fork("r0", "end", id="r2")
        with pytest.raises(Throttled):
            await engine.rerun("r0", id="r3")
        assert (await engine.fork("r0", "end", id="r1")).run == "r1"
        assert len((await engine.list(limit=10))[0]) == 2
        await asyncio.sleep(30.1)
        assert (await engine.fork("r0", "end", id="r2")).run == "r2"

    virtually(members, body)


def test_a_start_that_died_behind_its_throttle_is_not_refused_for_it() -> None:
    """Sent again by its id it is let through, and the two of a minute are two."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        start = store.start

        async def fails(*_: Any, **__: Any) -> None:
            raise StoreError("away")

        store.start = fails
        for _ in range(3):
            with pytest.raises(StoreError):
                await bench.engine.start("seldom", {"n": 0}, run="r0")
        store.start = start
        assert (await bench.engine.start("seldom", {"n": 0}, run="r0"))[1]
        assert (await bench.engine.start("seldom", {"n": 1}, run="r1"))[1]
        with pytest.raises(Throttled):
            await bench.engine.start("seldom", {"n": 2}, run="r2")

    virtually(members, body)


@everywhere
def test_a_start_of_a_singleton_is_the_run_that_is_there(table: str) -> None:
    """While one runs, starts stand for it; when it has ended, the next one is new."""

    async def body(bench: Bench) -> None:
        made = await asyncio.gather(*(bench.engine.start("alone", {"n": n}) for n in range(5)))
        assert len({header.run for header, _ in made}) == 1
        assert sum(new for _, new in made) == 1
        await bench.result(made[0][0].run)
        again, new = await bench.engine.start("alone", {"n": 9})
        assert new
        assert await bench.result(again.run) == 9
        assert most["alone"] == 1
        await nobody(bench)

    virtually(members, body, table=table)


@everywhere
def test_a_newer_run_of_a_singleton_takes_its_place(table: str) -> None:
    """Each start cancels those before it of its key, and begins once they have ended."""

    async def body(bench: Bench) -> None:
        runs = []
        for n in range(4):
            runs.append(await bench.start("newest", customer="a", n=n))
            await asyncio.sleep(1)
        other = await bench.start("newest", customer="b", n=7)
        assert await bench.result(runs[-1].run) == 3
        assert await bench.result(other.run) == 7
        assert [await state(bench, each) for each in runs[:3]] == [RunState.CANCELLED] * 3
        assert most["a"] == 1
        await nobody(bench)

    virtually(members, body, table=table)


def test_a_start_that_is_sent_again_is_its_run_whatever_holds_the_singleton() -> None:
    """An answer that got lost is that of its own run, also when a newer one has its place."""

    async def body(bench: Bench) -> None:
        first, _ = await bench.engine.start("alone", {"n": 1}, idempotency_key="first")
        await bench.result(first.run)
        newer = await bench.start("alone", n=2)
        again, new = await bench.engine.start("alone", {"n": 1}, idempotency_key="first")
        assert (again.run, new) == (first.run, False)
        assert await bench.result(newer.run) == 2
        await nobody(bench)

    virtually(members, body)


def test_who_dies_before_it_cancels_the_older_run_is_made_good() -> None:
    """A run that takes the place of another cancels it, whichever process carries it on."""

    async def body(bench: Bench) -> None:
        older, dying = await bench.start("newest", customer="a", n=1), bench.another()
        store: Any = dying.services.store
        start = store.start

        async def dies(*given: Any) -> Any:
            await start(*given)
            die(dying)
            await asyncio.Event().wait()

        store.start = dies
        lost = asyncio.ensure_future(dying.start("newest", {"customer": "a", "n": 2}, run="b"))
        await asyncio.sleep(1)
        assert await bench.result("b", 60) == 2
        assert await state(bench, older) is RunState.CANCELLED
        assert most["a"] == 1
        lost.cancel()

    virtually(members, body)


def test_a_key_that_cannot_be_made_is_refused_at_the_door() -> None:
    """The caller is told which key failed and how, and nothing is started."""

    async def body(bench: Bench) -> None:
        with pytest.raises(InvalidInput, match=r"key= of concurrency of failing failed: KeyError"):
            await bench.engine.start("failing", {"customer": "zoe"})
        for wrong in ("a b", "é", "-a", "a" * 65):
            with pytest.raises(InvalidInput, match="a tenant is"):
                await bench.engine.start("few", {"n": 1}, tenant=wrong)
        with pytest.raises(InvalidInput, match="a priority is"):
            await bench.engine.start("few", {"n": 1}, priority=101)
        assert not (await bench.engine.list())[0]

    virtually(members, body)


def test_a_run_that_is_cancelled_or_killed_while_it_waits_leaves_the_line() -> None:
    """It ends at once, and the one behind it is let in when it is its turn."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("few", n=n) for n in range(5)]
        await asyncio.sleep(1)
        await bench.engine.cancel(runs[2].run)
        await bench.engine.kill(runs[3].run)
        await asyncio.sleep(1)
        assert await state(bench, runs[2]) in TERMINAL
        assert await bench.result(runs[4].run) == 4
        assert bench.seconds < 25
        await asyncio.sleep(70)
        await nobody(bench)

    virtually(members, body)


def test_a_run_that_is_paused_while_it_waits_holds_nobody_up() -> None:
    """Those behind it are let in past it; once resumed it waits for its turn as any other does."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("few", n=n) for n in range(5)]
        await asyncio.sleep(1)
        await bench.engine.pause(runs[2].run)
        await bench.engine.pause(runs[3].run)
        assert await bench.result(runs[4].run) == 4
        assert bench.seconds < 60
        for paused in (runs[2], runs[3]):
            await bench.engine.resume(paused.run)
        assert [await bench.result(each.run) for each in runs] == [0, 1, 2, 3, 4]
        assert most["few"] == 2
        await asyncio.sleep(70)
        await nobody(bench)

    virtually(members, body)


def test_a_retried_run_is_let_in_anew() -> None:
    """A run that failed has given its place back: a retry waits for one, as any other does."""

    async def body(bench: Bench) -> None:
        first = await bench.start("broken", n=0)
        await asyncio.sleep(2)
        other = await bench.start("broken", n=5)
        await bench.engine.retry(first.run)
        assert await bench.result(other.run) == 5
        assert await bench.result(first.run) == 0
        await nobody(bench)

    virtually(members, body)


@everywhere
def test_a_dead_process_loses_no_place(table: str) -> None:
    """Runs of a process that died go on in another one, under the places that they had."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        runs = [await bench.start("few", n=n) for n in range(4)]
        await asyncio.sleep(1)
        die(bench.engine)
        other.open()
        for each in runs:
            assert await other.result(each.run, 10**6) is not None
        assert most["few"] == 2
        bench.engine = other
        await asyncio.sleep(70)
        await nobody(bench)

    virtually(members, body, table=table, lease=3_000)


def test_children_wait_for_the_limit_of_their_workflow() -> None:
    """Runs that a run begins are limited as all others are, and are of its tenant."""

    async def body(bench: Bench) -> None:
        header, _ = await bench.engine.start("parent", {"n": 5}, tenant="t1")
        assert await bench.result(header.run) == list(range(5))
        assert most["few"] == 2
        runs, _ = await bench.engine.list(children=True)
        assert {each.tenant for each in runs} == {"t1"}

    virtually(members, body)


def test_who_would_wait_for_itself_is_told() -> None:
    """A run that holds a limit cannot wait for a child, or a task, that needs the same place."""

    @task(limits=concurrency(1, name="one"))
    async def within() -> None: ...

    @workflow(limits=concurrency(1, name="one"))
    async def again(n: int) -> str:
        if n:
            return await between(n - 1)
        await within()
        return "never"

    @workflow
    async def between(n: int) -> str:
        return await again(n)

    @workflow(limits=concurrency(1))
    async def later(n: int) -> int:
        return await (await later.start(n - 1)).result() if n else n

    @workflow(limits=concurrency(2, name="two"))
    async def fits(n: int) -> int:
        return n if n == 0 else 1 + await fits(n - 1)

    async def body(bench: Bench) -> None:
        for n in (1, 0):
            with pytest.raises(Ended) as ended:
                await bench.run("again", wait=60, n=n)
            assert "one is held by the runs that wait for this" in str(ended.value.failure)
        assert await bench.run("fits", wait=60, n=1) == 1
        with pytest.raises(Ended) as ended:
            await bench.run("later", wait=60, n=1)
        assert "later is held by the runs that wait for this" in str(ended.value.failure)
        with pytest.raises(Ended):
            await bench.run("fits", wait=60, n=2)
        await nobody(bench)

    virtually((again, between, within, fits, later), body)


def test_a_singleton_that_is_there_refuses_a_child() -> None:
    """A child stands for no other run: the call fails, and says which run is there."""

    async def body(bench: Bench) -> None:
        there = await bench.start("alone", n=1)
        assert await bench.run("asking") == ["RunConflict", f"run {there.run!r} is there"]

    virtually(members, body)


@everywhere
def test_the_time_of_a_body_begins_when_it_is_let_in(table: str) -> None:
    """A run that has waited sees the moment at which it begins, and sleeps as long as it says."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("napping", n=n) for n in range(3)]
        assert [await bench.result(each.run) for each in runs] == [10.0] * 3
        assert 30 <= bench.seconds < 31

    virtually(members, body, table=table)


def test_a_run_that_hears_something_as_it_is_let_in_is_inside_from_then_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its first commit meets an arrival; it would have waited to be let in until its next timer."""
    let_in = Limits.let_in

    @workflow(limits=concurrency(1))
    async def listens() -> list[Any]:
        async with asyncio.timeout(100_000):
            return [await wait_for_signal("first"), await wait_for_signal("second")]

    async def body(bench: Bench) -> None:
        door = Signals(bench.another())  # of its sending nothing is heard here

        async def heard(limits: Limits, header: Header) -> Any:
            found = await let_in(limits, header)
            if not header.signals:
                await door.send(header.run, "first", 1)
            return found

        monkeypatch.setattr(Limits, "let_in", heard)
        run = (await bench.start("listens")).run
        await asyncio.sleep(10)
        header = await bench.engine.get(run)
        assert header.admission is not None
        assert header.admission.inside
        await door.send(run, "second", 2)
        assert await bench.result(run, 10) == [1, 2]

    virtually([listens], body, cached=0)

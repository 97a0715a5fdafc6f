"""A clock that was ahead is set right: what waits goes on in real time, in a new process too."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import concurrency, rate, sleep, step, task, wait_for_approval, workflow
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.engine.sweeping.clock_watch import PAGES
from rewake.engine.sweeping.looks import PAGE
from rewake.kinds import Kind, OutcomeKind
from rewake.ledger import PATROL
from rewake.records import LATEST, Header, Millis, Operation, Outcome
from rewake.states import RunState
from rewake.stores.keys import header_key, operation_key
from rewake.stores.processes import REST
from rewake.stores.set_back import begun_again
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

HOUR = 3_600_000
LEASE, GRACE, SWEEP = 5, 4, 1
PATIENCE = Settings().patience / 1000
begun: Counter[str] = Counter()
everywhere = pytest.mark.parametrize("table", TABLES)
ahead_by = pytest.mark.parametrize("ahead", [HOUR, 365 * 24 * HOUR])
_emptied = emptied(begun)


@task(retries=1, delay=60, jitter=0)
async def flaky() -> str:
    begun["flaky"] += 1
    if begun["flaky"] == 1:
        raise ValueError("once")
    return "flaky"


@task
async def long() -> str:
    begun["long"] += 1
    await asyncio.sleep(30)
    return "long"


async def inline() -> str:
    begun["inline"] += 1
    await asyncio.sleep(30)
    return "inline"


@workflow
async def waits(how: str) -> str:
    if how == "sleep":
        await sleep(60)
    elif how == "timeout":
        try:
            async with asyncio.timeout(60):
                await wait_for_approval("yes")
        except TimeoutError:
            pass
    elif how == "retry":
        await flaky()
    elif how == "task":
        await long()
    elif how == "step":
        await step("inline", inline)
    elif how == "beside":
        background = asyncio.create_task(long())
        await step("inline", inline)
        await background
    return how


@task(limits=concurrency(1))
async def alone() -> None:
    await asyncio.sleep(100_000)


@workflow
async def guards() -> None:
    await alone()


@task(limits=rate(1, per=60))
async def now_and_then() -> None:
    begun["now and then"] += 1


@workflow
async def rated() -> None:
    await now_and_then()


members = [flaky, long, waits, now_and_then, rated, alone, guards]


def set_clock(engine: Engine, ahead: Millis) -> None:
    """Let the clock of this process be ahead of the time by so much."""
    clock: Any = engine.services.clock
    told = type(clock).now
    clock.now = lambda: told(clock) + ahead


async def go_on(bench: Bench, restarts: bool) -> None:
    """Set the clock right, at once or with a new process that takes the place of this one."""
    if not restarts:
        set_clock(bench.engine, 0)
        return
    die(bench.engine)
    bench.engine = bench.another()
    bench.engine.open()


@everywhere
@ahead_by
@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.parametrize("how", ["sleep", "timeout", "retry"])
def test_no_wait_takes_more_than_twice_its_length(
    how: str, restarts: bool, ahead: Millis, table: str
) -> None:
    """A wait of 60 s is never shorter, and late by no more than what had passed of it.

    A new process looks a lease after its beginning.
    """

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, ahead)
        run = (await bench.start("waits", how=how)).run
        await asyncio.sleep(10)
        await go_on(bench, restarts)
        assert await bench.result(run, 1_000) == how
        assert 60 <= bench.seconds < 70 + 2 * SWEEP + (LEASE + SWEEP) * restarts
        assert begun == ({"flaky": 2} if how == "retry" else {})

    virtually(members, body, table=table)


@ahead_by
def test_a_rate_that_was_looked_at_lets_the_next_one_begin_in_time(ahead: Millis) -> None:
    """That its item is of the present again does not leave its next moment in the future."""

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, ahead)
        await bench.run("rated")
        set_clock(bench.engine, 0)
        await asyncio.sleep(10)
        await bench.run("rated")
        assert begun == {"now and then": 2}
        assert 59 <= bench.seconds < 80

    virtually(members, body)


@everywhere
@ahead_by
@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize("after", [0.5, 4])
@pytest.mark.parametrize("how", ["task", "step", "beside"])
def test_what_a_dead_process_held_is_taken_over(
    how: str, after: float, second: bool, ahead: Millis, table: str
) -> None:
    """Its lease is in the future: it begins again on the clock that was set right, and runs out.

    The process that takes over was there before, under the wrong clock too, or begins after that.
    The lease was renewed already or, after half a second, it is the first.
    """

    async def body(bench: Bench) -> None:
        first, other = bench.engine, bench.another()
        set_clock(first, ahead)
        if second:
            set_clock(other, ahead)
            other.open()
        run = (await bench.start("waits", how=how)).run
        await asyncio.sleep(after)
        die(first)
        await asyncio.sleep(0.1)
        if second:
            set_clock(other, 0)
        else:
            other.open()
        bench.engine = other
        assert await bench.result(run, 1_000) == how
        # Two leases, for one may have begun again, until it is found to be over, and a while more
        # for a holder that lives, until it is begun; then it takes 30 s. A new
        # process looks after a lease, a turn with a step after its tasks once in a grace.
        until = 30 + after + 2 * LEASE + 3 * SWEEP + 2 * GRACE * (how == "beside") + PATIENCE
        assert bench.seconds < until + (LEASE + SWEEP) * (not second)
        assert set(begun.values()) == {2}

    virtually(members, body, table=table)


@everywhere
@ahead_by
def test_who_cancels_what_a_dead_process_held_does_not_prolong_its_lease(
    ahead: Millis, table: str
) -> None:
    """The request makes the run due by the right clock; its lease must not stay in the future."""

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, ahead)
        run = (await bench.start("waits", how="step")).run
        await asyncio.sleep(4)
        die(bench.engine)
        bench.engine = bench.another()
        bench.engine.open()
        await bench.engine.cancel(run)
        with pytest.raises(Ended):
            await bench.result(run, 1_000)
        assert (await bench.engine.get(run)).state is RunState.CANCELLED
        assert bench.seconds < 4 + 2 * LEASE + 3 * SWEEP

    virtually(members, body, table=table)


@everywhere
@ahead_by
def test_what_is_cancelled_of_a_dead_process_does_not_stay_due(ahead: Millis, table: str) -> None:
    """Its outcome takes its lease away, and leaves a due time of the clock that was ahead."""

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, ahead)
        run = (await bench.start("waits", how="task")).run
        await asyncio.sleep(4)
        die(bench.engine)
        bench.engine = bench.another()
        bench.engine.open()
        await bench.engine.kill(run)
        await asyncio.sleep(2 * LEASE + 2 * GRACE + 3 * SWEEP)
        left = await bench.table.due(LATEST, limit=9)
        assert [due for due in left if run in due.key.partition] == []  # its process is due

    virtually(members, body, table=table)


@everywhere
@ahead_by
def test_an_outcome_that_makes_its_item_is_set_right_too(ahead: Millis, table: str) -> None:
    """A decision is due after a grace, in case that who took it dies before the run hears of it."""

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, ahead)
        now, store = bench.engine.services.clock.now(), bench.engine.services.store
        operation = Operation("r1", "yes", Kind.APPROVAL, due=now + 4_000)
        await store.settle(operation, Outcome(OutcomeKind.OK), now)
        set_clock(bench.engine, 0)
        found = await store.operation("r1", "yes")
        assert found is not None
        assert (await store.set_right(found)).due == now - ahead + 4_000

    virtually(members, body, table=table)


def test_what_a_process_holds_is_looked_at_when_it_is_set_right() -> None:
    """If that died, what it held was looked for no further ahead than the right clock goes."""
    now, ahead = 1_000_000, 60_000
    run = Header("r1", "waits", now, seed=1, runtime=1, state=RunState.RUNNING)
    attempt = Operation("r1", "work", Kind.TASK, "work")
    for held in (run, attempt):
        held.process, held.written, held.due = "p", now + ahead, now + ahead + REST
    assert begun_again(run, now)["due"] == begun_again(attempt, now)["due"] == now


@ahead_by
@pytest.mark.parametrize("restarts", [False, True])
def test_a_limit_that_was_looked_at_is_looked_at_again_in_time(
    restarts: bool, ahead: Millis
) -> None:
    """A look changes nothing of it but when the next one is: that is set right too."""

    async def body(bench: Bench) -> None:
        await bench.start("guards")
        await asyncio.sleep(10)
        set_clock(bench.engine, ahead)
        await asyncio.sleep(100)
        await go_on(bench, restarts)
        await asyncio.sleep(2 * (LEASE + SWEEP))
        services = bench.engine.services
        [book], _ = await services.store.limits(limit=9, cursor=None)
        assert book.due is not None
        assert book.due <= services.clock.now() + PATROL

    virtually(members, body)


@everywhere
@ahead_by
@pytest.mark.parametrize("restarts", [False, True])
def test_a_run_that_was_released_goes_on(restarts: bool, ahead: Millis, table: str) -> None:
    """It was to be claimed in 10 s, by a clock that was ahead: it is claimed 10 s from now."""

    async def body(bench: Bench) -> None:
        engine = bench.engine
        set_clock(engine, ahead)
        run = (await bench.start("waits", how="step")).run
        await asyncio.sleep(1)
        header = await engine.get(run)
        at = engine.services.clock.now() + 10_000
        await engine.services.store.release(run, header.owner, at)
        await asyncio.sleep(3)
        assert (await engine.get(run)).state is RunState.READY
        await go_on(bench, restarts)
        await asyncio.sleep(10 + 2 * SWEEP + (LEASE + SWEEP) * restarts)
        assert (await bench.engine.get(run)).state is RunState.RUNNING
        assert await bench.result(run) == "step"

    virtually(members, body, table=table)


@everywhere
def test_what_is_held_by_a_process_that_lives_is_begun_by_no_other(table: str) -> None:
    """Both find its leases in the future, and let them begin again; it renews them in time."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        for engine in bench.made:
            set_clock(engine, HOUR)
        other.open()
        runs = [(await bench.start("waits", how=how)).run for how in ("task", "step", "beside")]
        for back in range(6):
            await asyncio.sleep(3.7)
            for engine in bench.made:
                set_clock(engine, HOUR - (back + 1) * HOUR // 6)
        for run in runs:
            await bench.result(run)
        assert begun == {"long": 2, "inline": 2}
        assert bench.seconds < 32
        await other.close()

    virtually(members, body, table=table)


def test_a_look_is_in_pages_and_once() -> None:
    """Each item that waits is read once by a new process, and twice when a clock is set back.

    Sweeps go on meanwhile, and read nothing of what is not due.
    """
    table = CountingTable()
    number = PAGE * PAGES + 700

    async def body(bench: Bench) -> None:
        await asyncio.sleep(2 * LEASE)  # the first process has looked
        for each in range(number):
            at = bench.engine.services.clock.now() + HOUR
            header = Header(f"r{each}", "waits", 0, 0, 1, RunState.PARKED, due=at, wake=at)
            await table.put(header_key(header.run), header)
        table.count_anew()
        await asyncio.sleep(0.5)
        assert table.gets == 0
        new = bench.another()
        new.open()
        await asyncio.sleep(LEASE)
        assert table.gets == 0
        await asyncio.sleep(SWEEP + 0.5)
        assert table.gets == PAGE * PAGES
        await asyncio.sleep(60)
        assert table.gets == number
        set_clock(new, -60_000)
        await asyncio.sleep(2.5)
        assert number < table.gets <= 2 * number
        await asyncio.sleep(600)
        assert table.gets == 3 * number
        await new.close()

    virtually(members, body, table=table)


def test_what_cannot_be_read_keeps_nothing_else_from_being_set_right() -> None:
    """One item of a form that is not known is passed over; a store that fails is asked again."""

    async def body(bench: Bench) -> None:
        set_clock(bench.engine, HOUR)
        run = (await bench.start("waits", how="retry")).run
        await asyncio.sleep(1)
        table: Any = bench.table
        operation = Operation("odd", "odd", Kind.TASK, due=2**45, written=2**45)
        where = operation_key("odd", "odd")
        await table.put(where, operation)
        table._partitions[where.partition][where.sort] = b"no JSON"
        set_clock(bench.engine, 0)
        assert await bench.result(run, 1_000) == "retry"
        assert bench.seconds < 63

    virtually(members, body)

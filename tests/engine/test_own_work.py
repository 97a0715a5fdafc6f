"""Who holds what: only a death is a death, and one sick item, error or pause harms itself alone."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    parallel,
    sleep,
    step,
    task,
    wait_for_approval,
    workflow,
)
from rewake.app import App
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.errors import CheckpointUnreadable, RunConflict, StoreUnavailable, StuckError
from rewake.records import Header, Operation
from rewake.states import RunState
from rewake.stores.keys import header_key
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import VirtualLoop
from tests.support.emptied import emptied
from tests.support.virtual import SECRET, TABLES, Bench, virtually

begun: Counter[str] = Counter()
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(begun)


@task
async def long(name: str) -> str:
    begun[name] += 1
    await asyncio.sleep(20)
    return name


async def long_inline() -> str:
    begun["step"] += 1
    await asyncio.sleep(20)
    return "step"


@workflow
async def works(names: list[str]) -> list[str]:
    return [*await parallel(names, long), await step("inline", long_inline)]


async def operations(bench: Bench, run: str) -> list[Operation]:
    _, history = await bench.engine.history(run)
    return list(history.operations.values())


@everywhere
def test_a_clock_that_jumps_begins_nothing_beside_itself(table: str) -> None:
    """Every lease seems to be over, but the process lives: it renews what it holds."""

    async def body(bench: Bench) -> None:
        clock: Any = bench.engine.services.clock
        now, ahead = clock.now, [0]
        clock.now = lambda: now() + ahead[0]
        run = (await bench.start("works", names=["a"])).run
        for _ in range(7):
            await asyncio.sleep(4.3)
            ahead[0] += 60_000
        ahead[0] -= 120_000
        assert await bench.result(run) == ["a", "step"]
        assert begun == {"a": 1, "step": 1}
        assert [each.lost for each in await operations(bench, run)] == [0]

    virtually([works, long], body, table=table)


@everywhere
@pytest.mark.parametrize("processes", [1, 2])
def test_no_more_is_claimed_than_there_is_room_for(table: str, processes: int) -> None:
    """Tasks that wait for a slot for several leases are claimed by nobody meanwhile."""

    async def body(bench: Bench) -> None:
        others = [bench.another() for _ in range(processes - 1)]
        for other in others:
            other.open()
        names = [f"n{number}" for number in range(7)]
        runs = [(await bench.start("works", names=names[:4])).run]
        runs.append((await bench.start("works", names=names[4:])).run)
        for run in runs:
            await bench.result(run)
        assert {begun[name] for name in names} == {1}
        for run in runs:
            assert {(each.attempts, each.lost) for each in await operations(bench, run)} == {(1, 0)}
        for other in others:
            await other.close()

    virtually([works, long], body, table=table, tasks=2)


@workflow
async def sleeps(seconds: float) -> str:
    await sleep(seconds)
    return "awake"


def test_an_error_that_nobody_foresaw_is_told_at_once() -> None:
    """The run is stuck with that error, not after five deaths that were none; a resume mends it."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        park = store.park

        async def broken(*args: Any, **named: Any) -> Any:
            raise ZeroDivisionError("a mistake in the runtime")

        store.park = broken
        run = (await bench.start("sleeps", seconds=1)).run
        with pytest.raises(StuckError, match="ZeroDivisionError: a mistake in the runtime"):
            await bench.result(run, 10)
        assert (await bench.engine.get(run)).strikes <= 1
        assert bench.seconds < 1
        store.park = park
        await bench.engine.resume(run)
        assert await bench.result(run) == "awake"

    virtually([sleeps], body)


def test_what_the_machine_is_short_of_is_tried_again() -> None:
    """Too many open files are no mistake of the run: it goes on when there is room."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        park = store.park

        async def short(*args: Any, **named: Any) -> Any:
            if bench.seconds < 30:
                raise OSError(24, "Too many open files")
            return await park(*args, **named)

        store.park = short
        run = (await bench.start("sleeps", seconds=100)).run
        assert await bench.result(run) == "awake"
        assert 100 <= bench.seconds < 101

    virtually([sleeps], body)


def test_an_item_that_cannot_be_read_ends_no_sweeper() -> None:
    """A newer Rewake may have written it: its neighbours go on, lists show it, its run is kept."""

    async def body(bench: Bench) -> None:
        sick = (await bench.start("sleeps", seconds=5)).run
        well = (await bench.start("sleeps", seconds=5)).run
        await asyncio.sleep(1)
        table: Any = bench.table
        assert isinstance(table, MemoryTable)
        partition = table._partitions[header_key(sick).partition]
        kept, partition["H"] = partition["H"], b'{"run":"x","tail":[["of the future"]]}'
        bench.engine.services.cache.clear()
        assert await bench.result(well) == "awake"
        assert bench.seconds < 8
        listed, _ = await bench.engine.list()
        assert {each.run: each.state for each in listed} == {
            sick: RunState.STUCK,
            well: RunState.DONE,
        }
        await asyncio.sleep(100)
        partition["H"] = kept
        assert await bench.result(sick) == "awake"

    virtually([sleeps], body)


def test_a_view_that_cannot_be_read_hides_no_run() -> None:
    """Its key says which run it is of, and that run's header the rest."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("sleeps", seconds=1)).run for _ in range(3)]
        table: Any = bench.table
        [views, *_] = (each for name, each in table._partitions.items() if name[:2] == "V#")
        views[min(views)] = b"no view"
        for name in (None, "sleeps"):
            listed, _ = await bench.engine.list(workflow=name)
            assert {(each.run, each.workflow) for each in listed} == {(r, "sleeps") for r in runs}
        assert (await bench.engine.list(workflow="other"))[0] == []

    virtually([sleeps], body)


def test_a_full_disk_is_asked_once_a_sweep() -> None:
    """Where nothing can be moved, the same page is not asked for again and again."""

    async def body(bench: Bench) -> None:
        for _ in range(3):
            await bench.start("sleeps", seconds=3)
        await asyncio.sleep(1)
        table: Any = bench.table
        update, due, asked = table.update, table.due, [0]

        async def refused(*args: Any, **named: Any) -> Any:
            if bench.seconds < 20:
                raise StoreUnavailable("full")
            return await update(*args, **named)

        async def counted(*args: Any, **named: Any) -> Any:
            asked[0] += 1
            return await due(*args, **{**named, "limit": 2})

        table.update, table.due = refused, counted
        await asyncio.sleep(18)
        assert asked[0] <= 20
        await asyncio.sleep(20)
        listed, _ = await bench.engine.list()
        assert {each.state for each in listed} == {RunState.DONE}

    virtually([sleeps], body)


@task
async def stubborn() -> str:
    begun["stubborn"] += 1
    try:
        await asyncio.sleep(2 if begun["stubborn"] > 1 else 60)
    except asyncio.CancelledError:
        await asyncio.sleep(600)
    return "done"


@workflow
async def waits_for_it() -> str:
    return await stubborn()


def test_a_process_ends_although_a_task_does_not() -> None:
    """A cleanup of ten minutes holds up no end; the task is released for another process."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits_for_it")).run
        await asyncio.sleep(1)
        await bench.engine.close(grace=1)
        assert bench.seconds < 5
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == "done"
        assert bench.seconds < 9
        assert [each.lost for each in await operations(bench, run)] == [0]

    virtually([waits_for_it, stubborn], body)


async def stick(bench: Bench, run: str) -> None:
    """Let a run that sleeps get stuck."""
    await asyncio.sleep(1)
    services = bench.engine.services
    held = await services.store.claim(run, services.run_claim(run))
    assert isinstance(held, Header)
    await services.store.stick(held, "it is stuck")


@everywhere
def test_a_cancel_of_a_stuck_run_and_a_resume_have_one_answer(table: str) -> None:
    """A resume in between does not make an accepted cancellation vanish."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("sleeps", seconds=50)).run
        await stick(bench, run)
        update, done = bench.table.update, [False]

        async def between(key: Key, **changes: Any) -> Any:
            ends = (changes.get("set") or {}).get("state") is RunState.CANCELLED
            if ends and not done[0]:
                done[0] = True
                await bench.engine.resume(run)
            return await update(key, **changes)

        bench.table.update = between  # type: ignore[method-assign]
        await bench.engine.cancel(run, "enough", even_stuck=True)
        bench.table.update = update  # type: ignore[method-assign]
        await asyncio.sleep(5)
        header = await bench.engine.get(run)
        assert done[0]
        assert (header.state, header.cancel) == (RunState.CANCELLED, "enough")

    virtually([sleeps], body, table=table, cached=0)


@everywhere
def test_a_resume_recognises_its_own_success(table: str) -> None:
    """A write that worked and was reported as failed is no conflict."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("sleeps", seconds=5)).run
        await stick(bench, run)
        update, denied = bench.table.update, [False]

        async def denies(key: Key, **changes: Any) -> Any:
            written = await update(key, **changes)
            if not denied[0]:
                denied[0] = True
                raise StoreUnavailable("it worked, and you are told that it failed")
            return written

        bench.table.update = denies  # type: ignore[method-assign]
        await bench.engine.resume(run)
        assert await bench.result(run) == "awake"
        with pytest.raises(RunConflict):
            await bench.engine.resume(run)

    virtually([sleeps], body, table=table)


def test_a_close_in_the_middle_of_a_park_releases_what_it_claimed() -> None:
    """The commit was written, and its turn was cancelled: its tasks wait for no lease to end."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        park, parked = store.park, asyncio.Event()

        async def slow(*args: Any, **named: Any) -> Any:
            await park(*args, **named)
            parked.set()
            await asyncio.sleep(60)

        store.park = slow
        run = (await bench.start("works", names=["a", "b"])).run
        await parked.wait()
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == ["a", "b", "step"]
        assert bench.seconds < 45
        assert [(each.attempts, each.lost) for each in await operations(bench, run)] == [(1, 0)] * 2
        assert begun == {"a": 1, "b": 1, "step": 1}

    virtually([works, long], body)


@workflow
async def asks_then_works_long() -> str:
    await wait_for_approval("boss")
    return await step("long", lambda: asyncio.sleep(3600, "done"))


@everywhere
def test_a_sweep_does_not_wait_for_the_work_that_it_finds(table: str) -> None:
    """A decision by another process is found by a sweep; the run's next hour holds up no timer."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("asks_then_works_long")).run
        await asyncio.sleep(1)
        decided = Approval(Decision.APPROVED)
        await Approvals(bench.another()).decide(run, "boss", decided, carry_on=False)
        await asyncio.sleep(3)
        began = bench.seconds
        assert await bench.run("sleeps", seconds=60) == "awake"
        assert bench.seconds - began < 61
        assert await bench.result(run) == "done"

    virtually([asks_then_works_long, sleeps], body, table=table)


@pytest.mark.parametrize("method", ["claim_task", "resolve"])
def test_a_close_in_the_middle_of_a_claim_releases_it(method: str) -> None:
    """However slowly the store answers, a claim of work that was cancelled is no death."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        original, reached = getattr(store, method), asyncio.Event()

        async def slow(*args: Any, **named: Any) -> Any:
            found = await original(*args, **named)
            reached.set()
            await asyncio.sleep(60)
            return found

        setattr(store, method, slow)
        run = (await bench.start("works", names=["a"])).run
        if method == "claim_task":
            bench.lose_first_messages()
        await reached.wait()
        began = bench.seconds
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(run) == ["a", "step"]
        assert bench.seconds - began < 43
        assert [each.lost for each in await operations(bench, run)] == [0]

    virtually([works, long], body)


def test_a_claim_that_took_most_of_its_lease_is_renewed_before_work_begins() -> None:
    """Its lease would be over before the first beat, and another process would begin the same."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        store: Any = bench.engine.services.store
        park = store.park

        async def slow(*args: Any, **named: Any) -> Any:
            result = await park(*args, **named)
            await asyncio.sleep(4.5)
            return result

        store.park = slow
        run = (await bench.start("works", names=["a"])).run
        assert await bench.result(run) == ["a", "step"]
        assert begun["a"] == 1
        await other.close()

    virtually([works, long], body)


def test_a_late_due_index_is_asked_once_a_sweep() -> None:
    """What was checked is not checked again because the index still shows it."""

    async def main() -> None:
        clock = VirtualClock(loop)
        table = MemoryTable(now=clock.now, lag=1_000)
        app = App()
        app.add(sleeps)
        engine = Engine(app, table, InProcessDispatcher(clock), SECRET, clock=clock, threads=False)
        engine.open()
        runs = [(await engine.start("sleeps", {"seconds": 10}))[0].run for _ in range(600)]
        await asyncio.gather(*(engine.result(run, 60) for run in runs))
        assert loop.seconds < 15
        await engine.close()

    loop = VirtualLoop()
    try:
        loop.run_until_complete(main())
        assert not loop.errors, loop.errors
    finally:
        loop.close()


def test_a_task_that_was_stopped_before_it_began_does_not_begin() -> None:
    """Its run is cancelled while its arguments are fetched: nothing of it is wanted any more."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store
        resolve = store.resolve

        async def slow(*args: Any) -> Any:
            await asyncio.sleep(6)
            return await resolve(*args)

        store.resolve = slow
        run = (await bench.start("works", names=["a"])).run
        await asyncio.sleep(0.5)
        await bench.engine.cancel(run)
        await asyncio.sleep(30)
        assert (await bench.engine.get(run)).state is RunState.CANCELLED
        assert begun == {}

    virtually([works, long], body)


def test_a_turn_that_was_overtaken_during_its_replay_begins_no_step() -> None:
    """What the heart found out meanwhile is looked at before anything begins."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        services.dispatcher.local = False  # the turn reads the history
        history, read = services.store.history, asyncio.Event()

        async def overtaken(header: Any, *more: Any) -> Any:
            services.store.history = history
            found = await history(header, *more)
            await services.store.release(header.run, header.owner, services.clock.now() + 10_000)
            await asyncio.sleep(8)
            read.set()
            return found

        services.store.history = overtaken
        run = (await bench.start("works", names=[])).run
        await read.wait()
        await asyncio.sleep(1)
        assert begun == {}
        assert await bench.result(run) == ["step"]
        assert begun == {"step": 1}

    virtually([works, long], body)


def test_a_run_that_cannot_be_read_is_stuck_even_if_its_wake_fails() -> None:
    """It is woken again with each check: the first claim may meet a sick store."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        bench.lose_first_messages()
        run = (await bench.start("works", names=["a"])).run
        await asyncio.sleep(1)
        services.cache.clear()
        claim, sick = services.store.claim, [True]

        async def fails_once(*args: Any) -> Any:
            if sick.pop() if sick else False:
                raise StoreUnavailable("once")
            return await claim(*args)

        async def unreadable(header: Any, *more: Any) -> Any:
            raise CheckpointUnreadable("gone")

        services.store.claim, services.store.history = fails_once, unreadable
        await asyncio.sleep(120)
        header = await bench.engine.get(run)
        assert (header.state, header.error) == (RunState.STUCK, "CheckpointUnreadable: gone")

    virtually([works, long], body)

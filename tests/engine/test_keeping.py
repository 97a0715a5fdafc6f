"""How long runs are kept once they have ended, and how they are removed, in virtual time."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any, cast

import pytest

from rewake import Approval, Decision, step, task, wait_for_approval, workflow
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.settings import Settings
from rewake.engine.starts.starting import IfFinished, name_of_key
from rewake.errors import RunNotFound, RunRemoved
from rewake.keep import keep_in
from rewake.records import LATEST, Invocation
from rewake.states import RunState
from rewake.stores.keys import header_key
from tests.simulation.removing import places_of, values_of
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
DAY = 86_400
SLOW: Any = {"sweep": 3_600_000, "lease": 7_200_000}
"""Settings under which months pass quickly."""
BIG = "x" * 50_000
FIRST, SECOND, THIRD = (name_of_key("waits", "k").generation(n) for n in (1, 2, 3))


@task
async def double(n: int) -> int:
    logging.getLogger("doubling").warning("once")
    return 2 * n


@task
async def large(text: str) -> str:
    return text + "!"


@workflow
async def plain(n: int = 1) -> int:
    return await double(n)


@workflow
async def wide(n: int) -> int:
    return sum(await asyncio.gather(*(double(each) for each in range(n))))


@workflow
async def heavy() -> int:
    return len(await step("first", lambda: BIG + "1")) + len(await large(BIG))


@workflow(keep={"failed": None, "done": timedelta(hours=1)})
async def broken(fails: bool = True) -> None:
    if fails:
        raise ValueError("no")


@workflow
async def waits() -> str:
    return (await wait_for_approval("end")).decision.value


MEMBERS = (double, large, plain, wide, heavy, broken, waits)


async def left(bench: Bench, run: str) -> list[str]:
    """What is stored of a run: the sort keys of its items, its view, its values."""
    found = [place.sort for place in places_of(bench.table, run) if place.partition[0] in "RO"]
    found += ["view" for place in places_of(bench.table, run) if place.partition[0] == "V"]
    return found + [f"value {name}" for name in values_of(bench.table, run)]


async def approve(bench: Bench, run: str) -> None:
    """Let a run that waits end."""
    await asyncio.sleep(1)
    await Approvals(bench.engine).decide(run, "end", Approval(Decision.APPROVED))
    await bench.result(run)


async def begin(bench: Bench, if_finished: IfFinished | None = None) -> tuple[str, bool]:
    """Start with the key `k`."""
    header, new = await bench.engine.start(
        "waits", {}, idempotency_key="k", if_finished=if_finished
    )
    return header.run, new


# --- the policy ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "done", "failed"),
    [
        ("30d", 30 * DAY, 30 * DAY),
        ("forever", None, None),
        ("done=12h, failed=forever", 12 * 3600, None),
        ("7d,failed=90m", 7 * DAY, 90 * 60),
        ("done=0s", 0, 90 * DAY),
    ],
)
def test_a_setting_says_how_long(text: str, done: int | None, failed: int | None) -> None:
    """By state or for all; what is not said is as by default."""
    spans = Settings(keep=keep_in(text)).keep.spans
    assert spans[RunState.DONE] == (None if done is None else done * 1000)
    assert spans[RunState.FAILED] == (None if failed is None else failed * 1000)


@pytest.mark.parametrize("text", ["", "30", "d", "stuck=3d", "done=", "-1d", "done=1d=2d", "1w"])
def test_what_says_nothing_is_refused(text: str) -> None:
    """A setting that is mistyped must not remove anything."""
    with pytest.raises(ValueError, match="keep"):
        keep_in(text)


@pytest.mark.parametrize("keep", [-1, {"stuck": 5}, {"done": timedelta(days=-1)}, 10**12])
def test_a_workflow_says_it_right(keep: Any) -> None:
    """So does `@workflow(keep=...)`."""
    with pytest.raises(ValueError, match="keep"):
        workflow(keep=keep)(plain.function)


# --- removal -------------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize("name", ["plain", "heavy", "wide"])
def test_an_ended_run_goes_when_its_time_is_over(table: str, name: str) -> None:
    """All of it: history, tasks, logs, large values, its entry in lists."""

    async def body(bench: Bench) -> None:
        given = {"n": 150} if name == "wide" else {}
        run = (await bench.start(name, **given)).run
        await bench.result(run)
        await asyncio.sleep(29.9 * DAY)
        assert "view" in await left(bench, run)
        assert await bench.engine.list() != ([], None)
        await asyncio.sleep(0.2 * DAY)
        assert await left(bench, run) == []
        assert await bench.engine.list() == ([], None)
        with pytest.raises(RunNotFound):
            await bench.engine.get(run)

    virtually(MEMBERS, body, table=table, **SLOW)


@everywhere
def test_a_workflow_has_its_own_time(table: str) -> None:
    """By state; what it does not say, the server does, and None is for ever."""

    async def body(bench: Bench) -> None:
        good = (await bench.start("broken", fails=False)).run
        bad = (await bench.start("broken")).run
        with pytest.raises(Ended):
            await bench.result(bad)
        await bench.result(good)
        await asyncio.sleep(3 * 3600)
        with pytest.raises(RunNotFound):
            await bench.engine.get(good)
        await asyncio.sleep(100 * DAY)
        assert (await bench.engine.get(bad)).state is RunState.FAILED

    virtually(MEMBERS, body, table=table, **SLOW)


@everywhere
def test_what_has_not_ended_stays(table: str) -> None:
    """A run that waits, however long; and one that is stuck."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits")).run
        stuck = await bench.start("waits")
        await asyncio.sleep(1)
        await bench.engine.services.store._table.update(  # as a body that differs leaves it
            header_key(stuck.run), set={"state": RunState.STUCK, "due": None}
        )
        await asyncio.sleep(100 * DAY)
        assert (await bench.engine.get(run)).state is RunState.PARKED
        assert (await bench.engine.get(stuck.run)).state is RunState.STUCK
        await approve(bench, run)

    virtually(MEMBERS, body, table=table, **SLOW)


@everywhere
def test_a_failed_run_that_is_retried_is_kept(table: str) -> None:
    """It goes on, and its time begins with its new end."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("broken")).run
        with pytest.raises(Ended):
            await bench.result(run)
        await bench.engine.retry(run)
        with pytest.raises(Ended):
            await bench.result(run)
        assert (await bench.engine.get(run)).round == 1

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("10s"))


@everywhere
def test_a_longer_time_counts_for_what_has_ended(table: str) -> None:
    """The policy is asked when a run is due, so that nothing goes that is to stay by now."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("plain")).run
        await bench.result(run)
        bench.engine.services.keeping._keep = keep_in("60d")
        await asyncio.sleep(40 * DAY)
        assert (await bench.engine.get(run)).state is RunState.DONE
        await asyncio.sleep(21 * DAY)
        with pytest.raises(RunNotFound):
            await bench.engine.get(run)

    virtually(MEMBERS, body, table=table, **SLOW)


@everywhere
def test_late_messages_create_nothing(table: str) -> None:
    """A message for a task, or for the run, finds nothing, and nothing runs.

    Nor is a task offered to whoever serves its tag.
    """

    async def body(bench: Bench) -> None:
        run = (await bench.start("plain")).run
        await bench.result(run)
        for seconds in (3 * 3600, 3600, 31 * DAY):
            await asyncio.sleep(seconds)
            await bench.engine.handle(Invocation(run, "double", "double", None))
            await bench.engine.handle(Invocation(run, "other", "double", None, tag="gpu"))
            await bench.engine.handle(Invocation(run))
            assert await left(bench, run) in ([], ["H"])
        assert await left(bench, run) == []

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("10s"))


@everywhere
def test_an_id_stays_taken_for_a_while(table: str) -> None:
    """A start that is sent again with the id of a removed run starts nothing."""

    async def body(bench: Bench) -> None:
        await bench.engine.start("plain", {}, run="mine")
        await bench.result("mine")
        await asyncio.sleep(3 * 3600)
        assert await left(bench, "mine") == ["H"]
        with pytest.raises(RunRemoved):
            await bench.engine.start("plain", {}, run="mine")
        await asyncio.sleep(31 * DAY)
        assert await left(bench, "mine") == []

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("10s"))


@everywhere
def test_ended_runs_are_in_nobodys_way(table: str) -> None:
    """No look at what lives, or at what waits, comes to them, however many they are."""

    async def body(bench: Bench) -> None:
        for _ in range(30):
            await bench.run("plain")
        store = bench.engine.services.store
        assert await store.due(LATEST, limit=100) == []
        assert len(await store.to_remove(LATEST, 100)) == 30
        waiting = (await bench.start("waits")).run
        await asyncio.sleep(31 * DAY)
        assert await store.to_remove(LATEST, 100) == []
        await approve(bench, waiting)

    virtually(MEMBERS, body, table=table, **SLOW)


def test_where_a_process_stands_still_one_sweep_removes_what_a_minute_brings() -> None:
    """The next one is a minute away, so one that removed a few only would never be through; what
    takes long is left to it all the same.
    """

    async def body(bench: Bench) -> None:
        keeping, store = bench.engine.services.keeping, cast("Any", bench.engine.services.store)
        runs = [(await bench.start("plain")).run for _ in range(300)]
        await asyncio.gather(*map(bench.result, runs))
        await asyncio.sleep(DAY)
        await bench.engine.sweep()
        assert (await bench.engine.list(limit=1))[0] == []

        remove, asked = store.remove, 0

        async def slowly(*args: Any, **how: Any) -> Any:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.25)
            return await remove(*args, **how)

        store.remove = slowly
        runs = [(await bench.start("plain")).run for _ in range(300)]
        await asyncio.gather(*map(bench.result, runs))
        await asyncio.sleep(DAY)
        begun = bench.seconds
        await keeping.sweep()
        assert bench.seconds - begun < 40
        assert 80 <= asked < 300

    virtually(MEMBERS, body, sweeps=False, keep=keep_in("1s"), pauses=True)


# --- keys ----------------------------------------------------------------------------------------


@everywhere
def test_a_key_counts_on(table: str) -> None:
    """The runs of a key are numbered on after the first have gone, and one runs at a time."""

    async def body(bench: Bench) -> None:
        for expected in (FIRST, SECOND):
            assert await begin(bench, IfFinished.RESTART) == (expected, True)
            await approve(bench, expected)
            await asyncio.sleep(10 * DAY)
        assert await left(bench, FIRST) == ["H"]
        with pytest.raises(RunRemoved):
            await begin(bench)
        assert await begin(bench, IfFinished.RESTART) == (THIRD, True)
        await asyncio.sleep(100 * DAY)
        assert await left(bench, SECOND) == []
        assert await begin(bench) == (THIRD, False)
        assert [each.run for each in await bench.engine.of_key("k", "waits", 9)] == [THIRD]
        await approve(bench, THIRD)
        await asyncio.sleep(100 * DAY)
        assert await left(bench, FIRST) == await left(bench, THIRD) == []
        assert await begin(bench) == (FIRST, True)

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("1d"))


@everywhere
@pytest.mark.parametrize("gone", [(FIRST, SECOND), (SECOND,), (FIRST,)])
def test_the_runs_of_a_key_are_found_behind_those_that_are_gone(
    table: str, gone: tuple[str, ...]
) -> None:
    """Whichever of a key were removed, those that are left are all listed."""

    async def body(bench: Bench) -> None:
        for expected in (FIRST, SECOND, THIRD):
            assert await begin(bench, IfFinished.RESTART) == (expected, True)
            await approve(bench, expected)
            await asyncio.sleep(1)
        for run in gone:
            await bench.engine.erase(run)
        found = [each.run for each in await bench.engine.of_key("k", "waits", 9)]
        assert found == [each for each in (THIRD, SECOND, FIRST) if each not in gone]

    virtually(MEMBERS, body, table=table, **SLOW)


@everywhere
def test_a_key_of_many_runs_has_one_stone(table: str) -> None:
    """However often it was started anew; and the newest is found."""

    async def body(bench: Bench) -> None:
        name = name_of_key("waits", "k")
        for number in range(1, 12):
            run, new = await begin(bench, IfFinished.RESTART)
            assert (run, new) == (name.generation(number), True)
            await approve(bench, run)
            await asyncio.sleep(9 * DAY)
        stones = [n for n in range(1, 12) if await left(bench, name.generation(n))]
        assert stones == [1, 9, 10, 11]
        first = await bench.engine.services.store.standing(name.first)
        assert first is not None
        assert first.floor == 9

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("1d"))


@everywhere
def test_the_first_run_of_a_key_may_stay_longer(table: str) -> None:
    """Those behind it wait for it with their stones, so that there is no gap."""

    async def body(bench: Bench) -> None:
        assert await begin(bench) == (FIRST, True)
        await approve(bench, FIRST)
        await bench.engine.hold(FIRST)
        for expected in (SECOND, THIRD):
            assert await begin(bench, IfFinished.RESTART) == (expected, True)
            await approve(bench, expected)
        await asyncio.sleep(100 * DAY)
        assert await left(bench, SECOND) == await left(bench, THIRD) == ["H"]
        assert (await bench.engine.get(FIRST)).state is RunState.DONE
        await bench.engine.unhold(FIRST)
        await asyncio.sleep(100 * DAY)
        for run in (FIRST, SECOND, THIRD):
            assert await left(bench, run) == []

    virtually(MEMBERS, body, table=table, **SLOW, keep=keep_in("1d"))


@everywhere
@pytest.mark.parametrize("sweeps_first", [True, False])
def test_a_run_that_is_let_go_as_a_sweep_finds_it_held_is_removed(
    table: str, sweeps_first: bool
) -> None:
    """One of both sees what the other wrote: else it were neither held nor due, for ever."""

    async def body(bench: Bench) -> None:
        store = bench.engine.services.store
        run = (await bench.start("plain")).run
        await bench.result(run)
        await bench.engine.hold(run)
        held = await store.header(run)
        assert held.due is not None
        if sweeps_first:
            read = store.header

            async def late(run: str) -> Any:
                found = await read(run)
                store.header = read  # type: ignore[method-assign]
                await store.lay_down(found, None)
                return found

            store.header = late  # type: ignore[method-assign]
            await store.let_be_removed(run, bench.engine.services.keeping.due_of)
        else:
            await bench.engine.unhold(run)
            await store.lay_down(held, None)
        found = await store.header(run)
        assert (found.hold, found.due) == (False, held.due)

    virtually(MEMBERS, body, table=table, **SLOW)


# --- deaths --------------------------------------------------------------------------------------


class Mortal:
    """A table and shelf as a process sees them that dies at its n-th call, or just after it."""

    def __init__(self, engine: Engine, base: Any, nth: int, *, after: bool) -> None:
        self._engine, self._base = engine, base
        self._left, self._after = nth, after

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._base, name)
        if name in ("joins", "due"):
            return found

        async def call(*args: Any, **more: Any) -> Any:
            self._left -= 1
            if self._left:
                return await found(*args, **more)
            if self._after:
                await found(*args, **more)
            self._engine.services.store._table = self._engine.services.store._shelf = NOWHERE
            return await asyncio.Event().wait()

        return call


class _Nowhere:
    def __getattr__(self, _: str) -> Any:
        async def for_ever(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        return for_ever


NOWHERE: Any = _Nowhere()


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("table", TABLES)
def test_whoever_dies_over_a_removal_leaves_it_to_others(table: str, after: bool) -> None:
    """At whichever call: the run is whole, or it is gone for everybody and soon nothing is left."""
    deaths = 0

    async def body(bench: Bench, nth: int) -> None:
        nonlocal deaths
        run = (await bench.start("heavy")).run
        await bench.result(run)
        whole = await left(bench, run)
        mortal = bench.another()
        store: Any = mortal.services.store
        mortal_table = Mortal(mortal, store._table, nth, after=after)
        store._table = store._shelf = store.listed._table = mortal_table
        doomed = asyncio.ensure_future(mortal.erase(run))
        await asyncio.sleep(1)
        if doomed.done():
            return
        deaths += 1
        try:
            await bench.engine.get(run)
            assert await left(bench, run) == whole
            await bench.engine.erase(run)
        except RunNotFound:
            assert await bench.engine.list() == ([], None)
        await asyncio.sleep(600)
        assert await left(bench, run) == []
        doomed.cancel()

    quick: Any = {"sweep": 20_000, "lease": 600_000, "later": 60_000, "remembered": 120_000}
    for nth in range(1, 30):
        before = deaths
        virtually(MEMBERS, lambda bench, nth=nth: body(bench, nth), table=table, **quick)  # type: ignore[misc]
        if deaths == before:
            break
    assert deaths > 5
    assert nth < 29

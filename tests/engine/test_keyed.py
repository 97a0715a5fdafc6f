"""Keyed state: one writer at a time, over runs, processes and deaths."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import sleep, state, task, workflow
from rewake.engine.keyed import States
from rewake.engine.signals import Signals
from rewake.errors import InvalidInput, RunConflict
from rewake.stores.keys import state_key
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


def states(bench: Bench) -> States:
    return States(bench.engine.services, Signals(bench.engine))


@workflow
async def adds(item: str, wait: float = 1, timeout: float = 600) -> list[str]:
    async with state("cart", "ann", timeout=timeout) as cart:
        before = cart.value or []
        await sleep(wait)
        cart.value = [*before, item]
    return list(cart.value)


@workflow
async def crosses(first: str, second: str) -> None:
    async with state("account", first, timeout=20):
        await sleep(5)
        async with state("account", second, timeout=20):
            pass


@task
async def adds_in_task(item: str) -> None:
    async with state("cart", "ann") as cart:
        cart.value = [*(cart.value or []), item]


@workflow
async def by_task(item: str) -> None:
    await adds_in_task(item)


@everywhere
@warm_and_cold
def test_one_run_after_the_other_has_it(table: str, cached: int) -> None:
    """Nothing that one has written is lost to another, and each reads what was written before."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("adds", item=f"i{n}") for n in range(6)]
        results = [await bench.result(each.run) for each in runs]
        assert sorted(map(len, results)) == [1, 2, 3, 4, 5, 6]
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert sorted(found[0]) == [f"i{n}" for n in range(6)]
        assert (found[1].version, found[1].holder, found[1].line) == (6, None, [])
        assert bench.seconds < 30, "who waits is told, and does not look"

    virtually([adds], body, table=table, cached=cached)


def test_tasks_have_it_in_turn_too() -> None:
    """It is held by the run of the task."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("by_task", item=f"i{n}") for n in range(4)]
        for each in runs:
            await bench.result(each.run)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert sorted(found[0]) == ["i0", "i1", "i2", "i3"]

    virtually([by_task, adds_in_task], body)


async def failed(bench: Bench, run: str) -> str:
    """By what a run has failed; empty: it has not."""
    try:
        await bench.result(run)
    except Ended as ended:
        return "" if ended.failure is None else ended.failure.message
    return ""


def test_a_deadlock_ends_by_the_time_out_and_names_who_holds_it() -> None:
    """Of two runs that take two states in other orders, at least one gives up; both let go."""

    async def body(bench: Bench) -> None:
        one = await bench.start("crosses", first="a", second="b")
        two = await bench.start("crosses", first="b", second="a")
        told = [await failed(bench, header.run) for header in (one, two)]
        assert any(told)
        for message, other in zip(told, (two, one), strict=True):
            assert not message or other.run in message
        for key in ("a", "b"):
            found = await states(bench).read("account", key)
            assert found is not None
            assert (found[1].holder, found[1].line) == (None, [])

    virtually([crosses], body)


@pytest.mark.parametrize("how", ["cancel", "kill"])
@pytest.mark.parametrize("who", ["holder", "waiter"])
def test_whoever_ends_lets_go(how: str, who: str) -> None:
    """A cancelled run leaves block and line; one that was killed is passed over by those behind."""

    async def body(bench: Bench) -> None:
        names = [("a", 40.0), ("b", 40.0), ("c", 1.0)]
        runs = [await bench.start("adds", item=name, wait=wait) for name, wait in names]
        await asyncio.sleep(5)
        ends = runs[0] if who == "holder" else runs[1]
        await getattr(bench.engine, how)(ends.run)
        assert "c" in await bench.result(runs[2].run)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        gone = "a" if who == "holder" else "b"
        assert sorted(found[0]) == sorted({"a", "b", "c"} - {gone})
        assert bench.seconds < 300

    virtually([adds], body)


def test_what_is_not_json_is_refused_and_nothing_is_written() -> None:
    """The block is left, and the next one has the state."""

    @workflow
    async def wrong() -> None:
        async with state("cart", "ann") as cart:
            cart.value = {1, 2}

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended):
            await bench.run("wrong")
        assert await bench.run("adds", item="x") == ["x"]

    virtually([wrong, adds], body)


@everywhere
def test_writes_from_outside_are_made_on_a_version(table: str) -> None:
    """And while nobody holds it; a state is removed whole."""

    async def body(bench: Bench) -> None:
        here = states(bench)
        first = await here.write("cart", "ann", ["x"], 0)
        assert first.version == 1
        with pytest.raises(RunConflict, match="version 1"):
            await here.write("cart", "ann", [], 0)
        run = await bench.start("adds", item="y", wait=10)
        await asyncio.sleep(5)
        with pytest.raises(RunConflict, match=run.run):
            await here.write("cart", "ann", [], None)
        with pytest.raises(RunConflict, match=run.run):
            await here.remove("cart", "ann")
        assert await bench.result(run.run) == ["x", "y"]
        assert await here.remove("cart", "ann")
        assert not await here.remove("cart", "ann")
        assert await bench.table.get(state_key("cart", "ann")) is None

    virtually([adds], body, table=table)


def test_an_attempt_that_comes_late_does_not_enter_again() -> None:
    """What has left is known, so an overtaken process holds nothing for a block that is over."""

    async def body(bench: Bench) -> None:
        here = states(bench)
        run = await bench.start("adds", item="x", wait=100)
        await asyncio.sleep(1)
        assert not (await here.enter("cart", "ann", run.run, "t")).held
        assert not (await here.leave("cart", "ann", "t")).held
        assert not (await here.enter("cart", "ann", run.run, "t")).held
        found = await here.read("cart", "ann")
        assert found is not None
        assert found[1].line == []

    virtually([adds], body)


def test_outside_a_run_it_is_kept_in_this_process() -> None:
    """So a body can be tested as plain Python."""

    async def plain() -> Any:
        async with state("plain", "k") as one:
            one.value = [1]
        with pytest.raises(ZeroDivisionError):
            async with state("plain", "k") as two:
                two.value.append(1 / 0)
        async with state("plain", "k") as three:
            return three.value

    assert asyncio.run(plain()) == [1]


@pytest.mark.parametrize(
    ("name", "key"),
    [("", "k"), ("1", "k"), ("n" * 41, "k"), ("n", ""), ("n", "a\nb"), ("n", "x" * 201)],
)
def test_names_and_keys_are_bounded(name: str, key: str) -> None:
    """What cannot be one is refused at the call."""
    with pytest.raises(InvalidInput):
        state(name, key)

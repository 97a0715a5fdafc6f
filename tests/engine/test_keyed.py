"""Keyed state: one writer at a time, over runs, processes and deaths."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from rewake import send_signal, sleep, state, task, wait_for_signal, workflow
from rewake.engine.outside.keyed import Block, States
from rewake.engine.outside.signals import Signals
from rewake.errors import InvalidInput, RunConflict, StoreUnavailable, TaskError
from rewake.keyed import State
from tests.support.virtual import TABLES, Bench, Ended, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


CART = State("cart", "ann")


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
    """It is held by the run of the task, which gets no signal for it: the task looks by itself."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("by_task", item=f"i{n}") for n in range(4)]
        for each in runs:
            await bench.result(each.run)
            assert (await bench.engine.get(each.run)).signals == 0
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


@workflow
async def hurries() -> list[str]:
    with suppress(TimeoutError):
        async with asyncio.timeout(5), state("cart", "ann"):
            pass
    async with state("cart", "ann") as cart:
        cart.value = ["x"]
    return list(cart.value)


def test_who_is_cancelled_as_it_leaves_lets_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its step may not have run yet: the run would have the state to its end, and wait for it."""
    leave, begun = States.leave, []

    async def slow(self: States, *given: Any, **named: Any) -> bool:
        begun.append(given)
        if len(begun) == 1:
            await asyncio.sleep(50)
        return await leave(self, *given, **named)

    async def body(bench: Bench) -> None:
        assert await bench.run("hurries") == ["x"]
        assert bench.seconds < 10

    monkeypatch.setattr(States, "leave", slow)
    virtually([hurries], body)


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
        assert await here.read("cart", "ann") is None

    virtually([adds], body, table=table)


def test_an_attempt_that_comes_late_does_not_enter_again() -> None:
    """What has left is known, so an overtaken process holds nothing for a block that is over."""

    async def body(bench: Bench) -> None:
        here = states(bench)
        run = await bench.start("adds", item="x", wait=100)
        await asyncio.sleep(1)
        late = Block(CART, run.run, "t")
        assert not (await here.enter(late)).held
        assert not await here.leave(late)
        assert not (await here.enter(late)).held
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


tried: list[str] = []


@pytest.fixture(autouse=True)
def nothing_tried() -> None:
    tried.clear()


@task(retries=3, delay=1)
async def fails_within(other: str) -> None:
    tried.append("")
    async with state("cart", "ann") as cart:
        if len(tried) == 1:
            raise ValueError(other)
        cart.value = [*(cart.value or []), "task"]
    await send_signal(other, "told")
    if len(tried) == 2:
        raise ValueError(other)


@workflow
async def tells(other: str) -> None:
    await fails_within(other)


@workflow
async def hears() -> None:
    await wait_for_signal("told")
    await wait_for_signal("end")


def test_a_later_attempt_of_a_task_has_what_one_before_it_had() -> None:
    """It enters anew, also where that had waited; what it sends after is known again."""

    async def body(bench: Bench) -> None:
        other = await bench.start("hears")
        await bench.start("adds", item="first", wait=50)
        await asyncio.sleep(1)
        await bench.run("tells", other=other.run)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[0] == ["first", "task", "task"]
        assert (found[1].holder, found[1].line) == (None, [])
        assert len(await bench.engine.services.store.signals(other.run)) == 1

    virtually([tells, fails_within, hears, adds], body)


def test_an_attempt_that_was_overtaken_holds_nothing() -> None:
    """Of two attempts at one task the later has the state; the one before it writes nothing."""

    async def body(bench: Bench) -> None:
        here, run = states(bench), (await bench.start("hears")).run
        one, two = Block(CART, run, "t", 1), Block(CART, run, "t", 2)
        assert (await here.enter(one)).held
        assert (await here.enter(two)).held
        assert not (await here.enter(one)).held
        with pytest.raises(RunConflict, match=run):
            await here.leave(one, "old", read=0)
        assert await here.leave(two, "new", read=0)
        assert not await here.leave(two, "again", read=0)
        found = await here.read("cart", "ann")
        assert found is not None
        assert (found[0], found[1].version, found[1].holder) == ("new", 1, None)

    virtually([hears], body)


@task(retries=0)
async def fails_first() -> None:
    tried.append("")
    if len(tried) == 1:
        raise ValueError("first")


@workflow
async def fails_in_block(item: str) -> list[str]:
    async with state("cart", "ann") as cart:
        before = cart.value or []
        await fails_first()
        cart.value = [*before, item]
    return list(cart.value)


@pytest.mark.parametrize("how", ["retry", "fork"])
@pytest.mark.parametrize("meanwhile", ["nothing", "written", "held"])
@warm_and_cold
def test_who_goes_on_within_a_block_overwrites_nothing(
    how: str, meanwhile: str, cached: int
) -> None:
    """A retry, or a fork, does not hold what the block held: it writes if all is as it was."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("fails_in_block", item="x")).run
        assert await failed(bench, run)
        if meanwhile != "nothing":
            await bench.start("adds", item="y", wait=1 if meanwhile == "written" else 100)
            await asyncio.sleep(10)
        again = (
            await bench.engine.retry(run, discard_cleanup=True)
            if how == "retry"
            else await bench.engine.fork(run, "fails_first")
        )
        told = await failed(bench, again.run)
        await asyncio.sleep(200)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[0] == (["x"] if meanwhile == "nothing" else ["y"])
        assert (meanwhile == "nothing") == (told == "")
        assert not told or ("RunConflict" in told and "cart/ann" in told)
        assert (found[1].holder, found[1].line) == (None, [])

    virtually([fails_in_block, fails_first, adds], body, cached=cached)


@workflow
async def notes_failures() -> None:
    try:
        await always_fails()
    except TaskError:
        async with state("cart", "ann") as cart:
            cart.value = [*(cart.value or []), "failed"]
        raise


@task(retries=0)
async def always_fails() -> None:
    raise ValueError("always")


@warm_and_cold
def test_a_retry_goes_through_a_block_once_more(cached: int) -> None:
    """A block that is forgotten with a cleanup is entered again, although it draws the same."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("notes_failures")).run
        assert await failed(bench, run)
        await bench.engine.retry(run, discard_cleanup=True)
        assert await failed(bench, run)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[0] == ["failed", "failed"]

    virtually([notes_failures, always_fails], body, cached=cached)


@warm_and_cold
def test_a_fork_of_one_that_waits_stands_in_line_itself(cached: int) -> None:
    """It is another run, although it draws the same; nothing that either writes is lost."""

    async def body(bench: Bench) -> None:
        await bench.start("adds", item="a", wait=100)
        await asyncio.sleep(1)
        waits = (await bench.start("adds", item="b", wait=10)).run
        await asyncio.sleep(50)
        made = (await bench.engine.fork(waits, "enter cart.2")).run
        await asyncio.sleep(1)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert [each.run for each in found[1].line] == [waits, made]
        results = [await bench.result(run) for run in (waits, made)]
        assert sorted(results) == [["a", "b"], ["a", "b", "b"]]

    virtually([adds], body, cached=cached)


def test_who_is_paused_in_line_holds_nobody_up() -> None:
    """It is passed over until it is resumed; who is paused within its block has the state."""

    async def body(bench: Bench) -> None:
        runs = [(await bench.start("adds", item=each, wait=10)).run for each in "abcd"]
        await asyncio.sleep(1)
        for paused in runs[1:3]:
            await bench.engine.pause(paused)
        assert await bench.result(runs[3]) == ["a", "d"]
        assert bench.seconds < 60
        last = (await bench.start("adds", item="e", wait=100)).run
        await asyncio.sleep(5)
        await bench.engine.pause(last)
        for paused in runs[1:3]:
            await bench.engine.resume(paused)
        await asyncio.sleep(200)
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[1].holder is not None
        assert (found[0], found[1].holder.run) == (["a", "d"], last)
        await bench.engine.resume(last)
        before = bench.seconds
        results = [await bench.result(run) for run in (last, *runs[1:3])]
        assert bench.seconds - before < 300, "who was passed over is told as all are"
        assert sorted(results[-1] if len(results[-1]) == 5 else results[-2]) == [*"abcde"]

    virtually([adds], body)


def test_many_of_an_ended_run_in_line_hold_nobody_up() -> None:
    """However many of its tasks wait in front of who is next."""

    async def body(bench: Bench) -> None:
        first = await bench.start("adds", item="a", wait=20)
        await asyncio.sleep(1)
        ended = await bench.start("hears")
        for number in range(600):
            await states(bench).enter(Block(CART, ended.run, f"{number:032x}", 1, "work:1"))
        last = await bench.start("adds", item="b")
        await asyncio.sleep(1)
        await bench.engine.kill(ended.run)
        assert await bench.result(first.run) == ["a"]
        assert await bench.result(last.run) == ["a", "b"]
        assert bench.seconds < 30

    virtually([adds, hears], body)


def test_who_did_not_wait_is_told_nothing() -> None:
    """Who has it from the start gets no signal for it: nobody would ever take that."""

    async def body(bench: Bench) -> None:
        first, second = [await bench.start("adds", item=each, wait=100) for each in "ab"]
        await bench.result(second.run)
        counts = [(await bench.engine.get(each.run)).signals for each in (first, second)]
        assert counts == [0, 1]

    virtually([adds], body)


def test_a_tenant_has_states_of_its_own() -> None:
    """Runs of two tenants, and of none, share nothing by a name and a key."""

    async def body(bench: Bench) -> None:
        for tenant in ("t1", "t2", ""):
            made, _ = await bench.engine.start("adds", {"item": tenant or "none"}, tenant=tenant)
            assert await bench.result(made.run) == [tenant or "none"]
        here = states(bench)
        for tenant in ("t1", "t2", ""):
            found = await here.read("cart", "ann", tenant)
            assert found is not None
            assert found[0] == [tenant or "none"]
            listed, cursor = await here.page(tenant, "", limit=10, cursor=None)
            assert [(each.tenant, each.name, each.key) for each in listed] == [
                (tenant, "cart", "ann")
            ]
            assert cursor is None
        assert not (await here.page("", "car", limit=10, cursor=None))[0]

    virtually([adds], body)


@task
async def adds_one() -> None:
    async with state("cart", "ann") as cart:
        cart.value = [*(cart.value or []), 1]


@workflow
async def by_a_task() -> None:
    await adds_one()


@everywhere
def test_a_task_that_has_a_state_outlives_an_outage(table: str) -> None:
    """While the store does not answer it is asked again: that is no failure of the task."""

    async def body(bench: Bench) -> None:
        keyed, asked = bench.engine.services.store.keyed, list[str]()
        change = keyed.change

        async def refused(*args: Any) -> State:
            asked.append("refused")
            if len(asked) % 4:
                raise StoreUnavailable("it is away")
            return await change(*args)

        keyed.change = refused  # type: ignore[assignment]
        await bench.run("by_a_task")
        assert len(asked) == 8
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[0] == [1]

    virtually([adds_one, by_a_task], body, table=table)


@workflow
async def gives_up_twice() -> None:
    async def enter() -> None:
        async with state("cart", "ann"):
            pass

    waiting = asyncio.ensure_future(enter())
    await sleep(1)
    waiting.cancel()
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


@everywhere
def test_who_is_cancelled_twice_in_line_leaves_it(table: str) -> None:
    """As a group does whose parent is cancelled: else it is handed the state, and keeps it."""

    async def body(bench: Bench) -> None:
        first = (await bench.start("adds", item="a", wait=60)).run
        await asyncio.sleep(1)
        await bench.run("gives_up_twice")
        found = await states(bench).read("cart", "ann")
        assert found is not None
        assert found[1].holder is not None
        assert (found[1].holder.run, found[1].line) == (first, [])

    virtually([adds, gives_up_twice], body, table=table)


@task
async def takes_long() -> None:
    await asyncio.sleep(3_600)


@workflow
async def gives_a_task_up() -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(10):
            await takes_long()
    await wait_for_signal("end")


@everywhere
def test_what_a_task_held_that_has_ended_is_free(table: str) -> None:
    """It was withdrawn, and its process died before it left: its run may go on for months."""

    async def body(bench: Bench) -> None:
        here, run = states(bench), (await bench.start("gives_a_task_up")).run
        other = (await bench.start("hears")).run
        await asyncio.sleep(1)
        died = Block(CART, run, "t", 1, "takes_long")
        next_one = Block(CART, other, "other", 1)
        assert (await here.enter(died)).held
        assert not (await here.enter(next_one)).held
        await asyncio.sleep(9.5)
        assert not (await here.enter(next_one)).held, "its attempt need not have heard yet"
        await asyncio.sleep(bench.engine.services.settings.lease / 1000 + 1)
        assert (await here.enter(next_one)).held

    virtually([takes_long, gives_a_task_up, hears], body, table=table)

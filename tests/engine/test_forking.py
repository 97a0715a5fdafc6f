"""Reruns and forks: a new run that is made of another one, which stays as it is."""

from __future__ import annotations

import asyncio
import functools
import itertools
from decimal import Decimal
from typing import Any

import pytest

from rewake import Approval, Decision, approval, random, sleep, step, task, uuid4, workflow
from rewake.authoring.context import task_context
from rewake.codecs import AesGcm
from rewake.engine.outside.approvals import Approvals
from rewake.errors import InvalidInput, RunConflict, RunNotFound, RunRemoved, StoreUnavailable
from rewake.kinds import Kind
from rewake.noted import Forked, Origin
from rewake.records import Operation, Scheduled
from rewake.signing.secret import Secret
from rewake.states import RunState
from rewake.stores.keys import is_forking, run_partition
from rewake.stores.table import Key
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])

begun: list[tuple[str, str]] = []
fails: set[str] = set()


@pytest.fixture(autouse=True)
def nothing_begun() -> None:
    begun.clear()
    fails.clear()


@task(retries=0)
async def work(name: str, value: Any = None) -> Any:
    begun.append((name, task_context().idempotency_key))
    if name in fails:
        raise ValueError(name)
    return value


async def inline(name: str) -> str:
    begun.append((name, ""))
    return name


@workflow
async def chain(amount: str = "1") -> list[Any]:
    drawn = [random().random(), str(uuid4())]
    first = await work("first", Decimal(amount))  # a pickle: it is signed for its run
    small = await step("small", functools.partial(inline, "small"))
    await sleep(5)
    drawn += [random().random(), str(uuid4())]
    second = await work("second", amount)
    third = await step("third", functools.partial(inline, "third"))
    return [drawn, first, small, second, third, random().random(), str(uuid4())]


def names() -> list[str]:
    return [name for name, _ in begun]


async def keys_of(bench: Bench, run: str) -> list[str]:
    _, history = await bench.engine.history(run)
    return [entry.key for entry in history.entries if isinstance(entry, Scheduled)]


@everywhere
@warm_and_cold
@pytest.mark.parametrize("place", range(5))
def test_a_fork_repeats_what_was_and_begins_the_rest(table: str, cached: int, place: int) -> None:
    """Before the operation all is as it was, also what was drawn; from there on all is new."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        result = await bench.result(run)
        before, keys = dict(begun), await keys_of(bench, run)
        whole = await bench.engine.history(run)
        begun.clear()
        made = await bench.engine.fork(run, keys[place])
        assert (made.run != run, made.origin) == (True, Origin(run, keys[place]))
        again = await bench.result(made.run)
        assert again[1:5] == result[1:5]
        anew = ["first", "small", None, "second", "third"][place:]
        assert names() == [name for name in anew if name]
        assert all(before[name] != key for name, key in begun if key)
        kept = (0, 2, 2, 2, 4)[place]
        assert again[0][:kept] == result[0][:kept]
        assert kept == 4 or again[0][kept:] != result[0][kept:]
        assert again[5:] != result[5:]
        assert await bench.engine.history(run) == whole
        assert await keys_of(bench, made.run) == keys

    virtually([chain, work], check, table=table, cached=cached)


@everywhere
def test_the_other_run_may_be_removed_at_once(table: str) -> None:
    """Values, small and large, are copies: a fork needs nothing of the run that it was made of."""

    async def check(bench: Bench) -> None:
        big = "9" * 50_000
        run = (await bench.start("chain", amount=big)).run
        result = await bench.result(run)
        keys = await keys_of(bench, run)
        made = await bench.engine.fork(run, keys[-1])
        await bench.engine.pause(made.run)
        await bench.engine.erase(run)
        await asyncio.sleep(60)
        if (await bench.engine.get(made.run)).state is RunState.PAUSED:
            await bench.engine.resume(made.run)
        assert (await bench.result(made.run))[1:5] == result[1:5]

    virtually([chain, work], check, table=table, cached=0)


@everywhere
def test_a_fork_may_have_another_input(table: str) -> None:
    """What was before stands, though it was called otherwise; what follows gets the new input."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain", amount="1")).run
        await bench.result(run)
        keys = await keys_of(bench, run)
        made = await bench.engine.fork(run, keys[3], {"amount": "2"})
        result = await bench.result(made.run)
        assert (result[1], result[3]) == (Decimal(1), "2")
        with pytest.raises(InvalidInput) as refused:
            await bench.engine.fork(run, keys[3], {"amount": 2})
        assert refused.value.field == "amount"
        again = await bench.engine.rerun(run, {"amount": "3"})
        assert (await bench.result(again.run))[1] == Decimal(3)

    virtually([chain, work], check, table=table, cached=0)


@workflow
async def branches() -> list[Any]:
    return list(await asyncio.gather(*(branch(name) for name in "abc")))


async def branch(name: str) -> Any:
    await work(f"{name}1")
    return await work(f"{name}2", name)


def test_what_succeeded_beside_it_is_not_done_again() -> None:
    """Of what is open where a fork begins, what had succeeded stands; what had not begins anew."""

    async def check(bench: Bench) -> None:
        fails.add("b2")
        run = (await bench.start("branches")).run
        outcome = await bench.engine.result(run, 100)
        assert outcome is not None
        assert outcome.failure is not None
        key = (await keys_of(bench, run))[-1]
        fails.clear()
        begun.clear()
        made = await bench.engine.fork(run, key)
        assert await bench.result(made.run) == ["a", "b", "c"]
        assert len(begun) < 6
        assert all(name.endswith("2") or name == "b1" for name in names())

    virtually([branches, work], check)


@workflow
async def asks() -> str:
    asked = approval("boss", timeout=1000)
    links.append(asked.link())
    await work("told")
    return (await asked).decision


links: list[str] = []


@everywhere
def test_an_approval_that_is_open_has_a_link_of_the_fork(table: str) -> None:
    """Deciding on one run decides nothing for the other, and its deadline begins from now."""

    async def check(bench: Bench) -> None:
        links.clear()
        run = (await bench.start("asks")).run
        await asyncio.sleep(900)
        key = next(key for key in await keys_of(bench, run) if "work" in key)
        made = (await bench.engine.fork(run, key)).run
        await asyncio.sleep(500)
        assert len({*links}) == 2
        _, history = await bench.engine.history(made)
        [open_] = history.open(Kind.APPROVAL)
        await Approvals(bench.engine).decide(made, open_.key, Approval(Decision.APPROVED, None))
        assert await bench.result(made) == "approved"
        assert await bench.result(run) == "timed_out"

    virtually([asks, work], check, table=table, url="https://rewake.test")


@workflow
async def once() -> str:
    await sleep(1)
    return await step("charge", functools.partial(inline, "charge"), at_most_once=True)


@everywhere
def test_a_step_that_runs_at_most_once_does_so_in_each_run(table: str) -> None:
    """A fork is another run: it may begin what the first had begun, and is not told it was lost."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("once")).run
        await bench.result(run)
        made = await bench.engine.fork(run, "charge")
        assert await bench.result(made.run) == "charge"
        assert names() == ["charge", "charge"]

    virtually([once], check, table=table, cached=0)


@everywhere
def test_a_rerun_is_a_run_of_its_own(table: str) -> None:
    """It begins from the beginning, with the same input; nothing of the first one changes."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain", amount="4")).run
        result = await bench.result(run)
        made = await bench.engine.rerun(run)
        again = await bench.result(made.run)
        assert (made.origin, again[1:5]) == (Origin(run), result[1:5])
        assert again[0] != result[0]
        assert len(begun) == 8

    virtually([chain, work], check, table=table, cached=0)


def test_the_same_request_twice_begins_one_run() -> None:
    """By its id it is found again; an id of another run is refused, and a dry run begins none."""

    async def check(bench: Bench) -> None:
        engine, run = bench.engine, (await bench.start("chain")).run
        await bench.result(run)

        key = (await keys_of(bench, run))[0]
        first = await engine.fork(run, key, id="mine")
        assert (await engine.fork(run, key, id="mine")).run == first.run == "mine"
        assert (await engine.rerun(run, id="other")).run == "other"
        for act in (engine.rerun(run, id="mine"), engine.fork(run, key, id="other")):
            with pytest.raises(RunConflict) as refused:
                await act
            assert refused.value.run in ("mine", "other")
        before = len((await engine.list())[0])
        assert (await engine.rerun(run, dry_run=True)).run == run
        assert (await engine.fork(run, key, dry_run=True)).run == run
        assert len((await engine.list())[0]) == before

    virtually([chain, work], check)


def test_what_cannot_be_forked_is_refused() -> None:
    """A key that it has not asked for, with those that are near; an id that cannot be; no run."""

    async def check(bench: Bench) -> None:
        engine, run = bench.engine, (await bench.start("chain")).run
        await bench.result(run)
        with pytest.raises(RunNotFound, match="'smalk'; the nearest are 'small'"):
            await engine.fork(run, "smalk")
        with pytest.raises(RunNotFound, match="no run"):
            await engine.fork("none", "small")
        for bad in ("", "ü", "a" * 200):
            with pytest.raises(InvalidInput):
                await engine.fork(run, "small", id=bad)
            with pytest.raises(InvalidInput):
                await engine.rerun(run, id=bad)
        with pytest.raises(InvalidInput):
            await engine.rerun(run, {"amount": "1", "more": 1})

    virtually([chain, work], check)


def test_a_fork_of_a_fork_is_one_more() -> None:
    """Each has its own keys, seeds and origin, whichever run it was made of."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        await bench.result(run)
        for _ in range(3):
            made = await bench.engine.fork(run, "third")
            await bench.result(made.run)
            assert made.origin == Origin(run, "third")
            run = made.run
        _, history = await bench.engine.history(run)
        assert len([e for e in history.entries if isinstance(e, Forked)]) == 3
        assert names().count("third") == 4

    virtually([chain, work], check, cached=0)


def test_a_run_that_goes_on_is_forked_too() -> None:
    """A fork of a run that sleeps goes on by itself, and its sleep is as long as it was."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        await asyncio.sleep(2)
        made = (await bench.engine.fork(run, "small")).run
        assert (await bench.result(made))[2] == "small"
        assert await bench.result(run)
        assert names().count("small") == 2

    virtually([chain, work], check)


@pytest.mark.parametrize("input", [None, {"amount": "2"}], ids=["same", "other"])
def test_an_encrypted_run_is_forked(input: dict[str, str] | None) -> None:
    """Values are sealed for the fork, and digests go on under the key that they were made with."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        result = await bench.result(run)
        made = await bench.engine.fork(run, "third", input)
        await bench.engine.erase(run)
        assert (await bench.result(made.run))[1:4] == result[1:4]

    secret = Secret("a secret of the forks", codec=AesGcm({"2026": bytes(32)}))
    virtually([chain, work], check, secret=secret, cached=0)


def test_a_fork_of_an_id_that_is_taken_changes_nothing_of_that_run() -> None:
    """Nothing is put beside the run that is there: it would take that for what came of its own."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        await bench.result(run)
        keys = await keys_of(bench, run)
        await bench.engine.start("chain", {"amount": "2"}, run="other")
        await asyncio.sleep(2)
        before = names().count("second")
        with pytest.raises(RunConflict):
            await bench.engine.fork(run, keys[-1], id="other")
        assert (await bench.result("other"))[3] == "2"
        assert names().count("second") == before + 1

    virtually([chain, work], check, cached=0)


async def breaks_off(bench: Bench, run: str, key: str, id: str | None, after: int) -> None:
    """Begin a fork whose process dies once it has put so many items."""
    layout, left = bench.engine.services.store.layout, itertools.count(after, -1)
    place = layout.item

    def item(operation: Operation) -> Key:
        if next(left) <= 0:
            raise StoreUnavailable("it died")
        return place(operation)

    layout.item = item  # type: ignore[method-assign]
    with pytest.raises(StoreUnavailable):
        await bench.engine.fork(run, key, id=id)
    layout.item = place  # type: ignore[method-assign]


@everywhere
@pytest.mark.parametrize("after", [0, 1])
def test_a_death_over_a_fork_leaves_nothing(table: str, after: int) -> None:
    """What was copied is removed; until then the same fork goes on, and no other one of its id."""

    async def check(bench: Bench) -> None:
        run = (await bench.start("chain")).run
        await bench.result(run)
        key = (await keys_of(bench, run))[-1]
        for name in ("again", "never"):
            await breaks_off(bench, run, key, name, after)
        with pytest.raises(RunConflict):
            await bench.engine.fork(run, "small", id="again")
        assert await bench.result((await bench.engine.fork(run, key, id="again")).run)
        await asyncio.sleep(2 * 3600)
        left = await bench.table.query(run_partition("never"))
        assert [(key.sort, item.state) for key, item in left.items] == [("H", RunState.REMOVED)]
        with pytest.raises(RunRemoved):
            await bench.engine.fork(run, key, id="never")
        assert not [each for each in await bench.table.due(2**53, limit=9) if is_forking(each.key)]
        assert (await bench.engine.get("again")).state is RunState.DONE

    virtually([chain, work], check, table=table)

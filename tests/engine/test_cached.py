"""Cached tasks: what one run has come to others are given, and nobody does it twice at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from rewake import TaskError, concurrency, continue_as_new, rate, task, workflow
from rewake.app import App
from rewake.errors import CheckpointUnreadable
from rewake.ledger import Cached
from rewake.records import Invocation
from rewake.signing.aes_gcm import AesGcm
from rewake.signing.secret import Secret
from rewake.stores.blobs import BLOB_BYTES
from rewake.stores.keys import cached_key
from rewake.tags import Served
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

made: Counter[str] = Counter()
under_way: Counter[str] = Counter()
most: Counter[str] = Counter()
large: list[int] = []
_emptied = emptied(made, under_way, most, large)
everywhere = pytest.mark.parametrize("table", TABLES)
HOUR = 3600


async def make(what: str, seconds: float = 1) -> str:
    made[what] += 1
    under_way[what] += 1
    most[what] = max(most[what], under_way[what])
    try:
        await asyncio.sleep(seconds)
    finally:
        under_way[what] -= 1
    return f"{what} {made[what]}" + "." * sum(large)


@task(cache=timedelta(hours=1))
async def fetch(what: str) -> str:
    return await make(what)


@task(cache=HOUR, retries=1, delay=5, jitter=0)
async def flaky(what: str) -> str:
    told = await make(what)
    if made[what] < 3:
        raise ValueError(told)
    return told


@task(cache=HOUR, limits=[rate(1, per=10), concurrency(1)])
async def limited(what: str) -> str:
    return await make(what, 60)


@task(cache=HOUR, throttle=rate(1, per=60))
async def throttled(what: str) -> str:
    return await make(what)


@task(cache=HOUR)
async def given(value: object) -> str:
    return await make("given")


@dataclass
class Shop:
    name: str

    @task(cache=HOUR)
    async def look(self) -> str:
        return await make(self.name)


@workflow
async def one(what: str) -> str:
    return await fetch(what)


@workflow
async def many(what: str, n: int) -> list[str]:
    return list(await asyncio.gather(*(fetch(what) for _ in range(n))))


@task(cache=HOUR, tag="gpu")
async def on_gpu(what: str) -> str:
    return await make(what)


@workflow
async def tagged(n: int) -> list[str]:
    return list(await asyncio.gather(*(on_gpu("gpu") for _ in range(n))))


@workflow
async def unsure(what: str) -> str:
    try:
        return await flaky(what)
    except TaskError as error:
        return error.type


@workflow
async def slowly(n: int) -> list[str]:
    return list(await asyncio.gather(*(limited("x") for _ in range(n))))


@workflow
async def briefly(n: int) -> list[str]:
    return [await throttled("x") for _ in range(n)]


@workflow
async def odd() -> str:
    return await given(object())


@workflow
async def shops() -> list[str]:
    return [await Shop(name).look() for name in "xyx"]


@workflow
async def endless(left: int) -> str:
    told = await fetch("lap")
    if left:
        continue_as_new(left - 1)
    return told


members = [fetch, flaky, limited, throttled, given, one, many, unsure, slowly, briefly, odd]
members += [endless]


async def cached(bench: Bench) -> list[Any]:
    found, _ = await bench.engine.services.store.cached.page(limit=100, cursor=None)
    return found


@everywhere
def test_an_hour_long_all_runs_are_given_one_result(table: str) -> None:
    """What one run has come to another is given at once, and told whose it is; then it is over."""

    async def body(bench: Bench) -> None:
        first = await bench.start("one", what="a")
        assert await bench.result(first.run) == "a 1"
        before = bench.seconds
        second = await bench.start("one", what="a")
        assert await bench.result(second.run) == "a 1"
        assert bench.seconds - before < 0.5
        store = bench.engine.services.store
        found = await store.operation(second.run, "fetch")
        assert found is not None
        assert found.outcome is not None
        assert (found.outcome.cached, found.number) == (first.run, 0)
        assert await bench.run("one", what="b") == "b 1"
        await asyncio.sleep(HOUR)
        assert await bench.run("one", what="a") == "a 2"
        await asyncio.sleep(2 * HOUR)
        assert await cached(bench) == []

    virtually(members, body, table=table)


@everywhere
def test_who_comes_meanwhile_waits_for_the_first(table: str) -> None:
    """Of two hundred calls at once, of two runs in two processes, one is carried out."""

    async def body(bench: Bench) -> None:
        bench.share_messages(2)
        runs = [await bench.start("many", what="a", n=100) for _ in range(2)]
        assert [await bench.result(each.run) for each in runs] == [["a 1"] * 100] * 2
        assert made["a"] == 1
        assert bench.seconds < 3
        await asyncio.sleep(120)
        [found] = await cached(bench)
        assert not found.holders
        assert not found.waits
        assert await bench.engine.services.store.line(found.id, 10) == []

    virtually(members, body, table=table)


@pytest.mark.parametrize("kept", [0, 256])
def test_tasks_of_a_tag_are_cached_on_its_servers(kept: int) -> None:
    """Those that wait are found by servers of the tag again, also where each wake is a replay."""

    async def body(bench: Bench) -> None:
        other = bench.another(served=Served(frozenset({"gpu"})))
        other.open()
        runs = [await bench.start("tagged", n=5) for _ in range(3)]
        assert [await bench.result(each.run) for each in runs] == [["gpu 1"] * 5] * 3
        assert bench.seconds < 6

    virtually([on_gpu, tagged], body, cached=kept)


def test_errors_are_not_cached() -> None:
    """A failure is its own run's alone: whoever waits tries anew, one at a time."""

    async def body(bench: Bench) -> None:
        runs = [await bench.start("unsure", what="a") for _ in range(3)]
        assert [await bench.result(each.run) for each in runs] == ["a 3"] * 3
        assert (made["a"], most["a"]) == (3, 1)
        assert await bench.run("unsure", what="a") == "a 3"

    virtually(members, body)


@everywhere
def test_a_dead_process_keeps_nobody_waiting(table: str) -> None:
    """If the process of the one who makes it dies, its task is taken over, and all have that."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        runs = [await bench.start("one", what="a") for _ in range(3)]
        await asyncio.sleep(0.5)
        die(bench.engine)
        other.open()
        bench.engine = other
        assert len({await bench.result(each.run) for each in runs}) == 1
        assert made["a"] == 2
        assert bench.seconds < 20

    virtually(members, body, table=table, lease=3_000)


def test_a_lost_message_for_who_waits_is_made_good() -> None:
    """Who waits is told again, by a look, if the message got lost that a result is there."""

    async def body(bench: Bench) -> None:
        dispatcher = bench.engine.services.dispatcher
        dispatch, lost = dispatcher.dispatch, 0

        async def forgetful(invocations: Sequence[Invocation]) -> None:
            nonlocal lost
            kept = [e for e in invocations if not (e.key and e.args is None and lost < 5)]
            lost += len(invocations) - len(kept)
            await dispatch(kept)

        dispatcher.dispatch = forgetful  # type: ignore[method-assign]
        assert await bench.run("many", what="a", n=6) == ["a 1"] * 6
        assert lost == 5
        assert bench.seconds < 20

    virtually(members, body)


def test_what_is_found_takes_nothing_of_a_limit() -> None:
    """Calls that wait for another's result, or find it, neither reserve a moment nor use one up."""

    async def body(bench: Bench) -> None:
        assert await bench.run("slowly", n=5) == ["x 1"] * 5
        assert bench.seconds < 65
        assert await bench.run("briefly", n=5) == ["x 2"] * 5

    virtually(members, body)


def test_a_tenant_is_given_nothing_of_another() -> None:
    """Each tenant, and whoever has none, has results of its own."""

    async def body(bench: Bench) -> None:
        told = []
        for tenant in ("acme", "beta", "", "acme"):
            header, _ = await bench.engine.start("one", {"what": "a"}, tenant=tenant)
            told.append(await bench.result(header.run))
        assert told == ["a 1", "a 2", "a 3", "a 1"]

    virtually(members, body)


def test_values_that_cannot_be_told_apart_are_refused() -> None:
    """A call with an object of which no text tells all fails, and names the argument."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as caught:
            await bench.run("odd")
        assert caught.value.failure is not None
        assert caught.value.failure.type == "UsageError"
        assert "two values of builtins.object cannot be told apart (in 'value')" in (
            caught.value.failure.message
        )

    virtually(members, body)


@everywhere
@pytest.mark.parametrize("codec", [None, AesGcm({"k": bytes(32)})])
def test_a_large_result_goes_with_what_it_is_of(table: str, codec: AesGcm | None) -> None:
    """A large result is kept apart, sealed as all else is, and removed with the run it came from;
    one that is gone is made anew.
    """
    secret = Secret("a secret of sixteen bytes or more", codec=codec)

    async def body(bench: Bench) -> None:
        large.append(2 * BLOB_BYTES)
        first = await bench.start("one", what="a")
        whole = await bench.result(first.run)
        assert await bench.run("one", what="a") == whole
        [found] = await cached(bench)
        place = f"~{found.id}"
        assert found.kept.value.blob
        await bench.engine.erase(first.run)
        assert await cached(bench) == []
        assert not await bench.table.delete_blobs(place, limit=1)
        assert (await bench.run("one", what="a")).startswith("a 2")
        await bench.table.delete_blobs(place, limit=9)
        assert (await bench.run("one", what="a")).startswith("a 3")

    virtually(members, body, table=table, secret=secret)


def test_a_large_result_is_not_left_behind_by_a_small_one() -> None:
    """Once its time is over it goes, also where others had waited for it, as whose line who comes
    next is let in: else it stayed when all that it was of had been erased.
    """

    async def body(bench: Bench) -> None:
        large.append(2 * BLOB_BYTES)
        runs = [await bench.start("one", what="a") for _ in range(2)]
        await asyncio.gather(*(bench.result(each.run) for each in runs))
        [found] = await cached(bench)
        assert found.waits
        await asyncio.sleep(HOUR + 1)
        large.clear()
        assert await bench.run("one", what="a") == "a 2"
        with pytest.raises(CheckpointUnreadable):
            await bench.table.get_blob(f"~{found.id}", found.kept.value.blob)

    virtually(members, body, sweeps=False)


def test_what_is_cleared_is_made_anew() -> None:
    """Who comes after all was cleared is given nothing of before, nor what was begun before."""

    async def body(bench: Bench) -> None:
        async def clear() -> list[bool]:
            return [await bench.engine.services.limits.clear(e.id) for e in await cached(bench)]

        assert await bench.run("one", what="a") == "a 1"
        assert await clear() == [True]
        assert await cached(bench) == []
        late = await bench.start("one", what="a")
        await asyncio.sleep(0.5)
        assert await clear() == [False]
        assert await bench.result(late.run) == "a 2"
        assert await bench.run("one", what="a") == "a 3"
        assert await bench.run("one", what="a") == "a 3"

    virtually(members, body)


def test_what_is_kept_late_is_as_old_as_it_is() -> None:
    """A result that nobody could keep for two hours, as all had died, is given to nobody then."""

    async def body(bench: Bench) -> None:
        store: Any = bench.engine.services.store

        async def never(*_: Any, **__: Any) -> None:
            await asyncio.Event().wait()

        store.leave = never
        first = await bench.start("one", what="a")
        assert await bench.result(first.run) == "a 1"
        die(bench.engine)
        await asyncio.sleep(2 * HOUR)
        bench.engine = bench.another()
        bench.engine.open()
        await asyncio.sleep(200)
        assert await bench.run("one", what="a") == "a 2"
        await asyncio.sleep(HOUR - 100)
        assert await bench.run("one", what="a") == "a 2"
        await asyncio.sleep(200)
        assert await bench.run("one", what="a") == "a 3"

    virtually(members, body)


@pytest.mark.parametrize("dies", [True, False], ids=["takes over", "begins"])
def test_a_result_is_kept_by_the_code_that_was_asked(dies: bool) -> None:
    """While a deploy is under way, what a server of before makes is not kept as what one of after
    has asked for, nor where one of after has died over it.
    """

    async def fetch(what: str) -> str:
        return f"old {what}"

    async def body(bench: Bench) -> None:
        new, bench._app = bench._app, App()
        for member in (task(cache=HOUR)(fetch), one):
            bench._app.add(member)
        before, bench._app = bench.another(), new
        if not dies:
            bench.lose_first_messages()
        started = await bench.start("one", what="a")
        await asyncio.sleep(0.5)
        die(bench.engine)
        before.open()
        bench.engine = before
        assert await bench.result(started.run) == "old a"
        await asyncio.sleep(120)
        assert await cached(bench) == []
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.run("one", what="a") == ("a 2" if dies else "a 1")

    virtually(members, body, lease=3_000)


def opened(version: int) -> Box:
    """What is stored of a box, if it is of this version."""
    if version != Box.version:
        raise ValueError(version)
    return Box()


class Box:
    """What only its own version can read."""

    version = 1

    def __reduce__(self) -> tuple[Any, ...]:
        return opened, (self.version,)


@task(cache=HOUR)
async def box() -> Box:
    made["box"] += 1
    return Box()


@workflow
async def boxes() -> int:
    await box()
    return made["box"]


def test_what_a_run_could_not_read_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """A result of a class that is another one since: who is given it would be stuck."""

    async def body(bench: Bench) -> None:
        assert [await bench.run("boxes") for _ in range(2)] == [1, 1]
        monkeypatch.setattr(Box, "version", 2)
        assert [await bench.run("boxes") for _ in range(2)] == [2, 2]

    virtually([box, boxes], body)


@pytest.mark.parametrize("size", [0, 2 * BLOB_BYTES])
def test_what_is_kept_late_of_a_run_that_was_removed_goes(size: int) -> None:
    """Who stood still as it was about to keep a result keeps none of a run that is erased."""

    async def body(bench: Bench) -> None:
        large.append(size)
        store: Any = bench.engine.services.store
        put, gate = store.cached.put, asyncio.Event()

        async def slowly(*given: Any) -> Any:
            await gate.wait()
            return await put(*given)

        store.cached.put = slowly
        first = await bench.start("one", what="a")
        assert (await bench.result(first.run)).startswith("a 1")
        [found] = await cached(bench)
        await bench.table.put(cached_key(first.run, found.id), Cached(first.run, found.id))
        await bench.engine.erase(first.run)
        gate.set()
        await asyncio.sleep(1)
        assert (await bench.run("one", what="a")).startswith("a 2")
        await asyncio.sleep(2 * HOUR)
        assert await cached(bench) == []
        assert not await bench.table.delete_blobs(f"~{found.id}", limit=1)

    virtually(members, body)


def test_a_method_is_of_its_object() -> None:
    """Two objects that differ have results of their own."""

    async def body(bench: Bench) -> None:
        assert await bench.run("shops") == ["x 1", "y 1", "x 1"]

    virtually([shops], body)


def test_laps_share_what_an_earlier_one_made() -> None:
    """A result is there for all laps of an endless run, also once the lap is gone that made it."""

    async def body(bench: Bench) -> None:
        assert await bench.run("endless", left=5) == "lap 1"

    virtually(members, body)


def test_what_is_kept_is_looked_at_once() -> None:
    """A hundred results that are kept for an hour cost no looks meanwhile."""
    counting = CountingTable()

    async def body(bench: Bench) -> None:
        await asyncio.gather(*(bench.run("one", what=f"w{n}") for n in range(100)))
        await asyncio.sleep(100)
        counting.count_anew()
        await asyncio.sleep(3000)
        assert sum(units for place, units in counting.places.items() if place[0] == "f") == 0
        await asyncio.sleep(HOUR)
        assert await cached(bench) == []

    virtually(members, body, table=counting)

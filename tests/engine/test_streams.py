"""The stream of a run: what is emitted is there once, in order, and nothing is passed over."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import fields

from rewake import NotInARun, emit, parallel, sleep, step, task, task_context, workflow
from rewake.errors import InvalidInput, RunNotFound, StoreUnavailable
from rewake.stores.keys import stream_number
from rewake.stores.memory import MemoryTable
from rewake.stores.places import Place, cursor_of, first_place
from rewake.stores.table import Key
from rewake.values import emitted
from tests.support.emptied import emptied
from tests.support.streaming import Follower
from tests.support.virtual import TABLES, Bench, Ended, die, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
broken: list[str] = []
_emptied = emptied(broken)
log = logging.getLogger("app")
LARGE = "x" * 50_000  # so large that it is kept apart from its entry


@task
async def charges(amount: int) -> int:
    task_context().emit({"charging": amount})
    await emit("charged")
    return amount


@workflow
async def orders() -> int:
    await emit("begins")
    await charges(5)
    await step("ship", lambda: task_context().emit("shipped"))
    await emit(["ends", 1.5, None])
    await emit(LARGE)
    return 1


@everywhere
@warm_and_cold
def test_what_is_emitted_is_told_once_and_in_order(table: str, cached: int) -> None:
    """Bodies, tasks and steps emit; each item is there once, with who has emitted it."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("orders")).run
        await bench.result(run)
        follower = Follower(bench.engine, run)
        shown = await follower.read()
        found = [(e["key"], e["attempt"], e["value"]) for e in shown if e["type"] == "item"]
        assert found == [
            ("emit", 1, "begins"),
            ("charges", 1, {"charging": 5}),
            ("charges", 1, "charged"),
            ("ship", 1, "shipped"),
            ("emit.2", 1, ["ends", 1.5, None]),
            ("emit.3", 1, LARGE),
        ]
        assert [(e["type"], e.get("key"), e["state"]) for e in shown if "state" in e] == [
            ("state", None, "running"),
            ("operation", "charges", "started"),
            ("operation", "charges", "done"),
            ("operation", "ship", "started"),
            ("operation", "ship", "done"),
            ("state", None, "done"),
        ]
        assert follower.ended
        assert await Follower(bench.engine, run).read(limit=1) == shown
        for place, cursor in enumerate(follower.cursors, 1):
            assert await Follower(bench.engine, run, cursor).read(limit=2) == shown[place:]

    virtually([orders, charges], body, table=table, cached=cached)


@task
async def talks(number: int) -> None:
    logger = task_context().logger
    for beat in range(4):
        task_context().emit([number, beat])
        logger.info("beat %d of %d", beat, number)
        await asyncio.sleep(0.7)


@workflow
async def crowd(count: int) -> None:
    print("all begin")  # noqa: T201
    await emit("before")
    await parallel(range(count), talks)
    await emit("after")


@everywhere
def test_who_follows_gets_everything_from_several_processes(table: str) -> None:
    """Attempts of three processes emit and log at once: each one's order is kept, without a hole,
    for those who follow in any of them.
    """

    async def body(bench: Bench) -> None:
        engines = bench.share_messages(3)
        run = (await bench.start("crowd", count=7)).run
        followers = [Follower(each, run) for each in engines]
        told = await asyncio.gather(*(each.follow(limit=5) for each in followers))
        late = await Follower(engines[1], run).read()
        for shown in [*told, late]:
            items = [e["value"] for e in shown if e["type"] == "item" and "talks" in e["key"]]
            for number in range(7):
                assert [b for n, b in items if n == number] == [0, 1, 2, 3]
            assert len(items) == 28
            for number in range(7):
                key = f"parallel[{number}]/talks"
                spoken = [e["type"] for e in shown if e.get("key") == key and "attempt" in e]
                assert spoken == ["item", "log"] * 4
            said = [e["message"] for e in shown if e["type"] == "log"]
            assert said[0] == "all begin"
            assert sorted(said[1:]) == sorted(
                f"beat {b} of {n}" for b in range(4) for n in range(7)
            )
            assert [e["value"] for e in shown if e["type"] == "item" and "emit" in e["key"]] == [
                "before",
                "after",
            ]
            assert shown[-1]["state"] == "done"
        for each in engines[1:]:
            await each.close()

    virtually([crowd, talks], body, table=table)


@task
async def dawdles() -> None:
    for beat in range(6):
        task_context().emit(beat)
        await asyncio.sleep(1)


@workflow
async def waits_for_it() -> None:
    await emit("begins")
    await dawdles()


def test_a_reader_is_woken_at_once_here_and_soon_elsewhere() -> None:
    """Who follows in the process that writes is woken by that; in another one within a poll."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        run = (await bench.start("waits_for_it")).run
        here, there = Follower(bench.engine, run), Follower(other, run)
        await here.read()
        await there.read()
        seen: list[tuple[int, float]] = []

        async def watch(index: int, follower: Follower) -> None:
            await asyncio.sleep(index / 10)  # or a poll would fall on the moment of the write
            while not follower.items[1:]:
                await follower.look(wait=30)
            seen.append((index, bench.seconds))

        await asyncio.gather(watch(0, here), watch(1, there))
        (here_first, _), (first, second) = zip(*seen, strict=True)
        assert here_first == 0
        assert first == pytest.approx(1.0, abs=0.01)  # what was said is written each second
        assert 0 < second - first <= 0.26
        await bench.result(run)

    virtually([waits_for_it, dawdles], body)


def test_what_a_lost_attempt_said_stays_and_is_told_apart() -> None:
    """Items of an attempt that died with its process stay, up to its last second; those of the
    next attempt say that they are of the next.
    """

    async def body(bench: Bench) -> None:
        run = (await bench.start("waits_for_it")).run
        await asyncio.sleep(3.5)
        die(bench.engine)
        other = bench.another()
        other.open()
        follower = Follower(other, run)
        await other.result(run, 10**6)
        shown = [e for e in await follower.read() if e["type"] == "item" and e["key"] == "dawdles"]
        assert [e["value"] for e in shown if e["attempt"] == 1] == [0, 1, 2]
        assert [e["value"] for e in shown if e["attempt"] == 2] == [0, 1, 2, 3, 4, 5]
        bench.engine = other

    virtually([waits_for_it, dawdles], body)


# --- what is no item ---------------------------------------------------------------------------

_NO_ITEMS = [
    ((1, 2), "this is of type tuple"),
    ({"a": [1, {"b": dt.date(2026, 1, 2)}]}, r"a\[1\].b is of type date"),
    ({1: "one"}, "this is a dict with keys that are no text"),
    ([1, float("nan")], r"\[1\] is the number nan"),
    (2**70, "this is the number"),
    ("\ud800", "UTF-8 cannot hold"),
    ("x" * 70_000, "at most 65,536 bytes of JSON, and this one 70,002"),
]


@pytest.mark.parametrize(("value", "told"), _NO_ITEMS)
def test_what_is_not_json_is_refused_at_the_call(value: Any, told: str) -> None:
    """The error names the part; it is raised in bodies, attempts, and outside of runs alike."""

    @workflow
    async def bad() -> str:
        with pytest.raises(InvalidInput, match=told):
            await emit(value)
        with pytest.raises(InvalidInput, match=told):
            await emit(value)  # again, as on a replay
        return await step("in a step", inside)

    async def inside() -> str:
        with pytest.raises(InvalidInput, match=told):
            task_context().emit(value)
        with pytest.raises(InvalidInput, match=told):
            await emit(value)
        return "refused"

    async def body(bench: Bench) -> None:
        header = await bench.start("bad")
        assert await bench.result(header.run) == "refused"
        assert Follower(bench.engine, header.run).items == []

    virtually([bad], body, cached=0)
    with pytest.raises(InvalidInput, match=told):
        asyncio.run(emit(value))


@workflow
async def too_much() -> list[str]:
    said: list[str] = []
    for number in range(7):
        try:
            await emit("x" * number)
        except InvalidInput as error:
            said.append(str(error))
    await sleep(1)
    return said


@pytest.mark.parametrize(("bound", "limit"), [("MOST", 4), ("ROOM", 20)])
@warm_and_cold
def test_items_are_bounded(
    monkeypatch: pytest.MonkeyPatch, bound: str, limit: int, cached: int
) -> None:
    """In number and in size, with an error at the call that says so, the same on replay."""
    monkeypatch.setattr(emitted, bound, limit)

    async def body(bench: Bench) -> None:
        header = await bench.start("too_much")
        said = await bench.result(header.run)
        assert said
        assert all(each.startswith(f"no more than {limit}") for each in said)
        kept = await Follower(bench.engine, header.run).read()
        assert len([e for e in kept if e["type"] == "item"]) == 7 - len(said)

    virtually([too_much], body, cached=cached)


def test_outside_a_run_nobody_follows() -> None:
    """`emit` outside a run only checks its value, and a task that is called plainly works."""
    asyncio.run(emit({"fine": True}))
    assert asyncio.run(charges(3)) == 3
    with pytest.raises(NotInARun):
        task_context()


def test_no_cursor_of_others_is_taken() -> None:
    """A cursor of another run, a damaged or a made-up one is refused, and reads no other run."""

    async def body(bench: Bench) -> None:
        one, two = [(await bench.start("orders")).run for _ in range(2)]
        await bench.result(one)
        await bench.result(two)
        follower = Follower(bench.engine, one)
        await follower.read()
        for cursor in (follower.cursor[:-3], "a", "%%", "W10", "bnVsbA", "WzEsMl0", "x" * 9_999):
            with pytest.raises(InvalidInput) as refused:
                await Follower(bench.engine, one, cursor).read()
            assert refused.value.field == "cursor"
        with pytest.raises(InvalidInput, match="no cursor of this run's"):
            await Follower(bench.engine, two, follower.cursor).read()
        with pytest.raises(RunNotFound):
            await Follower(bench.engine, "none").read()

    virtually([orders, charges], body)


COUNTS = [each.name for each in fields(Place) if each.type is int and each.name != "run"]


@given(
    numbers=st.lists(
        st.integers(0, 12) | st.integers(0, 2**53 - 1), min_size=len(COUNTS), max_size=len(COUNTS)
    ),
    base=st.sampled_from(["", "C#00000000#x", "C#00000001#", "C#99999999#x"]),
)
@example(numbers=[0, 0, 0, 1_700_000_000_001, *[0] * 7], base="")
@settings(max_examples=60, deadline=None)
def test_whatever_place_is_made_up_it_is_of_its_run(numbers: list[int], base: str) -> None:
    """A cursor that was never given leads to things of that run, or is refused: nothing fails."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("orders")).run
        await bench.result(run)
        whole = [_timeless(each) for each in await Follower(bench.engine, run).read()]
        place = first_place(run)
        for name, number in zip(COUNTS, numbers, strict=True):
            setattr(place, name, number)
        place.base, place.round = base, place.round % 2
        follower = Follower(bench.engine, run, cursor_of(place))
        with contextlib.suppress(InvalidInput):
            for each in await follower.read(limit=2):
                assert _timeless(each) in whole or each["type"] == "state"

    virtually([orders, charges], body)


def _timeless(told: dict[str, Any]) -> dict[str, Any]:
    """Without its moment, for a place has the moment of what was read last."""
    return {name: value for name, value in told.items() if name != "at"}


# --- retries, and states that no entry tells of --------------------------------------------------


@task
async def fails(number: int) -> int:
    task_context().emit(f"trying {number}")
    if "task" not in broken:
        raise ConnectionError("no bank")
    return number


@workflow
async def careful(at_first: bool) -> str:
    if not at_first:
        await emit("begins")
        print("a line")  # noqa: T201
        await charges(1)
    try:
        await emit("tries")
        await fails(7)
    except Exception:
        await emit("gives up")
        print("a last line")  # noqa: T201
        await sleep(1)
        await emit("has given up")
        raise
    else:
        await emit("works")
    if "body" not in broken:
        raise ValueError("once more")
    return "done"


@everywhere
@pytest.mark.parametrize("at_first", [False, True])
def test_a_retry_takes_nothing_back_that_was_told(table: str, at_first: bool) -> None:
    """A run that failed and is retried, twice: what the body emitted in the parts that were cut
    off stays, marked by its round, and from whichever place a reader goes on, it gets each item and
    each line once.
    """

    async def body(bench: Bench) -> None:
        run = (await bench.start("careful", at_first=at_first)).run
        readers: list[Follower] = []

        async def ends() -> None:
            with pytest.raises(Ended):
                await bench.result(run)
            follower = Follower(bench.engine, run)
            await follower.read(limit=3)
            for number, cursor in enumerate(follower.cursors, 1):
                reader = Follower(bench.engine, run, cursor)
                reader.told = follower.told[:number]
                readers.append(reader)

        await ends()
        broken.append("task")
        await bench.engine.retry(run)
        await ends()
        broken.append("body")
        await bench.engine.retry(run)
        assert await bench.result(run) == "done"
        whole = Follower(bench.engine, run)
        told = _told(await whole.read())
        begin = [] if at_first else [("begins", 1)]
        tried = [("tries", 1), ("gives up", 1), ("has given up", 1), ("works", 2), ("works", 3)]
        assert [each for each in told if each in (*begin, *tried)] == [*begin, *tried]
        for reader in readers:
            again = _told(await reader.read(limit=2))
            assert sorted(map(str, again)) == sorted(map(str, told))
            assert reader.told[-1]["state"] == "done"

    def _told(shown: list[dict[str, Any]]) -> list[tuple[Any, int]]:
        kinds = ("item", "log")
        return [
            (e.get("value", e.get("message")), e["attempt"]) for e in shown if e["type"] in kinds
        ]

    virtually([careful, charges, fails], body, table=table)


@workflow
async def stays() -> None:
    await emit("stays")
    await sleep(100)
    if "body" not in broken:
        await emit("otherwise")
    await sleep(100)


def test_states_that_no_entry_tells_of() -> None:
    """That a run is stuck, resumed or killed is told too, once, with the reason."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("stays")).run
        follower = Follower(bench.engine, run)
        await bench.engine.result(run, 150)
        broken.append("body")
        bench.engine.services.cache.clear()
        with pytest.raises(Exception, match="stuck"):
            await bench.result(run)
        await follower.read()
        assert follower.told[-1]["state"] == "stuck"
        assert "emit" in follower.told[-1]["error"]["message"]
        assert await follower.look() == []
        broken.clear()
        await bench.engine.resume(run)
        shown = await follower.look()
        assert [each["state"] for each in shown] == ["running"]
        await bench.engine.kill(run, "enough")
        [killed] = await follower.look()
        assert (killed["state"], killed["reason"], follower.ended) == ("cancelled", "enough", True)
        assert await follower.look() == []

    virtually([stays], body)


# --- faults ------------------------------------------------------------------------------------


def _failing(
    bench: Bench, times: int, before: bool, call: str = "put"
) -> Callable[..., Awaitable[Any]]:
    """The call of the table, which fails so often where a stream is written."""
    original, left = getattr(bench.table, call), [times]

    async def failing(key: Key, *args: Any, **named: Any) -> Any:
        if not key.sort.startswith("S#") or not left[0]:
            return await original(key, *args, **named)
        left[0] -= 1
        if not before:
            await original(key, *args, **named)
        raise StoreUnavailable("who knows")

    return failing


@everywhere
@pytest.mark.parametrize("before", [True, False], ids=["not written", "written"])
@pytest.mark.parametrize("times", [1, 3, 30])
def test_a_store_that_fails_loses_and_doubles_nothing(
    table: str, before: bool, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether a write that was told to have failed had worked or not, each item is there once."""

    async def body(bench: Bench) -> None:
        monkeypatch.setattr(bench.table, "put", _failing(bench, times, before))
        run = (await bench.start("crowd", count=3)).run
        await bench.result(run)
        follower = Follower(bench.engine, run)
        shown = await follower.read()
        items = [e["value"] for e in shown if e["type"] == "item" and "talks" in e["key"]]
        assert sorted(items) == [[n, b] for n in range(3) for b in range(4)]

    virtually([crowd, talks], body, table=table)


def test_numbers_have_no_gap() -> None:
    """A batch is put at a number only once all before it are taken, whoever writes."""
    numbers: list[int] = []

    class Watched(MemoryTable):
        async def put(self, key: Key, item: Any, *, absent: bool = False) -> Any:
            written = await super().put(key, item, absent=absent)
            if key.sort.startswith("S#") and written.ok:
                numbers.append(stream_number(key.sort))
            return written

    async def body(bench: Bench) -> None:
        engines = bench.share_messages(3)
        run = (await bench.start("crowd", count=9)).run
        await bench.result(run)
        assert len(numbers) > 4
        for each in engines[1:]:
            await each.close()

    virtually([crowd, talks], body, table=Watched())
    assert numbers == list(range(len(numbers)))


def test_a_reader_stops_at_a_gap_that_is_still_filled() -> None:
    """A page of the store need not be of one moment: what it lacks is not passed over."""

    class Torn(MemoryTable):
        torn = True

        async def query(self, partition: str, prefix: str = "", **more: Any) -> Any:
            page = await super().query(partition, prefix, **more)
            if prefix == "S#" and len(page.items) > 1 and self.torn and not more.get("reverse"):
                self.torn = False
                del page.items[0]
            return page

    async def body(bench: Bench) -> None:
        run = (await bench.start("crowd", count=2)).run
        await bench.result(run)
        follower = Follower(bench.engine, run)
        await follower.look()
        await follower.read()
        items = [e["value"] for e in follower.told if e["type"] == "item" and "talks" in e["key"]]
        assert sorted(items) == [[n, b] for n in range(2) for b in range(4)]

    virtually([crowd, talks], body, table=Torn())

"""Claims, and looks, while others do as much between what one reads and what it writes."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest
from msgspec import Raw

from rewake.encoded import Failure
from rewake.kin import Watcher
from rewake.kinds import Kind, OutcomeKind
from rewake.limited import Line
from rewake.noted import Try
from rewake.records import (
    Header,
    Invocation,
    Item,
    Operation,
    Outcome,
    Scheduled,
    Started,
    Value,
)
from rewake.stores.answers import Committed, Fenced, Refused, RunClaim, Taken, TaskClaim
from rewake.stores.keys import CHUNKS, header_key, run_partition
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.shelf import shelf_of
from rewake.stores.table import Check, Key, Written
from tests.support.stores import Nobody

NOW, LEASE = 1_000_000, 5_000
FAILED = Failure("ValueError", "it failed")
AGAIN: Any = {"failure": FAILED, "tries": [Try(1, NOW, NOW)]}


class Now:
    """A clock that a test sets."""

    at = NOW

    def now(self) -> int:
        return self.at

    async def sleep(self, duration: int) -> None:
        raise AssertionError("nothing waits")


class Slow(MemoryTable):
    """A table on which `meanwhile` happens before the next write to an item that is there."""

    meanwhile: Callable[[], Awaitable[None]] | None = None

    async def update(self, key: Key, **how: Any) -> Written:
        happens = self.meanwhile
        if happens is not None and how["when"] != [[Check("run", "absent")]]:
            self.meanwhile = None
            await happens()
        return await super().update(key, **how)

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        happens, self.meanwhile = self.meanwhile, None
        if happens is not None:
            await happens()
        return await super().put(key, item, absent=absent)


def claim(owner: str, now: int = NOW, round: int = 0, key: str = "a") -> TaskClaim:
    return TaskClaim("r", key, "task", owner, now, LEASE, round=round)


async def retried(store: Store) -> None:
    await store.retry_task("r", "a", "other", at=NOW + 60_000, **AGAIN)


async def never_began(store: Store) -> None:
    await store.release_task("r", "a", "other", NOW + 60_000)


def slow_store() -> tuple[Slow, Store]:
    """A store on such a table."""
    table, marks = Slow(), itertools.count()
    clock, here = Now(), Nobody()
    return table, Store(
        table, shelf_of(table), mark=lambda: f"m{next(marks)}", clock=clock, here=here
    )


async def begun(store: Store, header: Header) -> Header:
    """Start a run, and claim it."""
    await store.start(header, Started(NOW, Value("json", Raw(b"{}"))))
    held = await store.claim(header.run, RunClaim("first", NOW, LEASE))
    assert isinstance(held, Header)
    return held


@pytest.mark.parametrize("lets_go", [retried, never_began])
def test_a_task_that_was_tried_meanwhile_waits_as_long_as_that_said(
    lets_go: Callable[[Store], Awaitable[None]],
) -> None:
    """Who read it, and writes after another attempt was put off, begins none early."""
    table, store = slow_store()

    async def main() -> None:
        assert isinstance(await store.claim_task(claim("first")), Taken)
        await store.retry_task("r", "a", "first", at=NOW, **AGAIN)

        async def meanwhile() -> None:
            assert isinstance(await store.claim_task(claim("other")), Taken)
            await lets_go(store)

        table.meanwhile = meanwhile
        refused = await store.claim_task(claim("late"))
        assert isinstance(refused, Refused)
        assert refused.operation.not_before == NOW + 60_000
        assert isinstance(await store.claim_task(claim("late", NOW + 60_000)), Taken)

    asyncio.run(main())


def test_a_task_that_was_let_in_meanwhile_waits_in_no_line() -> None:
    """Who came into a line, and writes that after it was let in and put off, changes nothing."""
    table, store = slow_store()
    asked, line = Invocation("r", "a", "task"), Line("limit", "place", "said")

    async def main() -> None:
        assert isinstance(await store.claim_task(claim("first")), Taken)
        await store.retry_task("r", "a", "first", at=NOW, **AGAIN)
        seen = await store.operation("r", "a")

        async def meanwhile() -> None:
            assert isinstance(await store.claim_task(claim("other")), Taken)
            await never_began(store)

        table.meanwhile = meanwhile
        later = NOW + 3_600_000
        kept = await store.put_off(asked, seen, at=None, due=later, lease=LEASE, line=line)
        found = await store.operation("r", "a")
        assert kept is None
        assert found is not None
        assert (found.line, found.due) == (None, NOW + 60_000)

    asyncio.run(main())


def test_a_look_at_a_run_that_has_gone_on_puts_nothing_off() -> None:
    """Its due time is what it was; but it is parked by now, and would be woken too late by that."""
    _, store = slow_store()
    header = Header("r", "work", NOW, seed=1, runtime=1, due=NOW)

    async def main() -> None:
        held = await begun(store, header)
        soon = NOW + 500
        result = await store.park(held, [], gap=1, wake=soon, check_at=None, near=1_000)
        assert isinstance(result, Committed)
        key = header_key("r")
        assert held.due is not None
        assert not await store.postpone(key, held.due, NOW + LEASE, of=held)
        parked = await store.header("r")
        assert parked.due is not None
        assert parked.due <= soon
        assert await store.postpone(key, parked.due, soon, of=parked)

    asyncio.run(main())


def test_a_look_that_an_arrival_overtakes_leaves_the_due_time_to_it() -> None:
    """What it has looked at was not all: the run is to wake at once, and not when it thought."""
    _, store = slow_store()
    header = Header("r", "work", NOW, seed=1, runtime=1, due=NOW)
    asked = Scheduled("a", Kind.TASK, "task", "")

    async def main() -> None:
        held = await begun(store, header)
        result = await store.park(held, [asked], gap=1, wake=None, check_at=NOW, near=0)
        assert isinstance(result, Committed)
        looked = await store.header("r")
        task = Operation("r", "a", Kind.TASK, "task")
        await store.deliver(task, Outcome(OutcomeKind.OK), NOW)
        assert not await store.recheck(looked, check_at=NOW + 60_000, wake=None)
        arrived = await store.header("r")
        assert (arrived.gap, arrived.due) == (0, NOW)

    asyncio.run(main())


def test_an_end_that_nothing_guards_leaves_its_run_due_where_it_is_just_being_claimed() -> None:
    """A child's end was told twice at once: who told it first was to claim the run, and may die;
    and the child, once it is told, tells it no more.
    """
    _, store = slow_store()
    header = Header("r", "work", NOW, seed=1, runtime=1, due=NOW)
    asked = Scheduled("a", Kind.CHILD, "child", "")

    async def main() -> None:
        held = await begun(store, header)
        await store.park(held, [asked], gap=1, wake=None, check_at=None, near=0)
        assert (await store.header("r")).due is None
        store._taking.add("r")  # as who told it first does meanwhile
        end = Operation("r", "a", Kind.CHILD, "child")
        told = await store.deliver(end, Outcome(OutcomeKind.OK), NOW, claim=RunClaim("b", NOW, 9))
        assert not told.claimed
        assert (await store.header("r")).due == NOW

    asyncio.run(main())


def test_who_stood_still_as_a_retry_came_to_wait_waits_in_its_place_no_more() -> None:
    """Else the end of a run would be told to a round that is over, and the retry wait for ever."""
    table, store = slow_store()

    async def main() -> None:
        header = Header("child", "work", NOW, seed=1, runtime=1, due=NOW)
        await store.start(header, Started(NOW, Value("json", Raw(b"{}"))))

        async def meanwhile() -> None:
            await store.watch("child", Watcher("r", "a", 1))

        table.meanwhile = meanwhile
        await store.watch("child", Watcher("r", "a", 0))
        assert await store.watchers("child") == [Watcher("r", "a", 1)]

    asyncio.run(main())


def test_who_stood_still_before_a_claim_begins_nothing_of_a_lap_that_is_removed() -> None:
    """Others have done what it was to begin, and gone on: the item that it makes is not kept."""
    _, store = slow_store()
    clock = cast("Now", store._clock)
    header = Header("r", "work", NOW, seed=1, runtime=1, due=NOW)
    begins = Started(NOW, Value("json", Raw(b"{}")))

    async def main() -> None:
        held = await begun(store, header)
        for _ in range(2):
            assert isinstance(await store.claim_task(claim("first")), Taken | Refused)
            result = await store.next_lap(held, [begins], cancels=0)
            assert isinstance(result, Committed)
            held = result.header
            held.lap = await store.look_after_laps(held, cancel=False)
        clock.at += 10_000
        assert isinstance(await store.claim_task(claim("late")), Refused)
        assert await store.operation("r", "a") is None
        assert isinstance(await store.claim_task(claim("late", key="lap3/a")), Taken)

    asyncio.run(main())


@pytest.mark.parametrize("is_removed", [False, True], ids=["a later lap", "removed"])
def test_who_stood_still_before_a_commit_leaves_nothing_of_what_is_over(
    *, is_removed: bool
) -> None:
    """What it puts before its commit is refused is in no history, and nobody would look for it."""
    _, store = slow_store()
    header = Header("r", "work", NOW, seed=1, runtime=1, due=NOW)
    begins = Started(NOW, Value("json", Raw(b"{}")))
    large = Started(NOW, Value("json", Raw(b'"' + b"x" * 5_000 + b'"')))

    async def main() -> None:
        held = await begun(store, header)
        if is_removed:
            await store._table.delete([header_key("r")])
        else:
            result = await store.next_lap(held, [begins], cancels=0)
            assert isinstance(result, Committed)
            await store.look_after_laps(result.header, cancel=False)
        assert isinstance(await store.commit(held, [large], progress=True), Fenced)
        assert not (await store._table.query(run_partition("r"), CHUNKS)).items

    asyncio.run(main())


def test_a_claim_of_an_item_that_goes_meanwhile_is_refused() -> None:
    """Of an item that it has found, and that went with its run before it could take it."""
    table, store = slow_store()

    async def main() -> None:
        assert isinstance(await store.claim_task(claim("first")), Taken)

        async def goes() -> None:
            await table.delete([store.layout.operation("r", "a")])

        table.meanwhile = goes
        assert isinstance(await store.claim_task(claim("late", NOW + 9 * LEASE, round=1)), Refused)

    asyncio.run(main())


def test_who_stood_still_before_a_claim_begins_nothing_of_a_run_that_is_removed() -> None:
    """Nor is anything left of it: nobody would look at that run again."""
    _, store = slow_store()
    clock = cast("Now", store._clock)

    async def main() -> None:
        assert isinstance(await store.claim_task(claim("first")), Taken), "at once it asks nobody"
        clock.at += 10_000
        assert isinstance(await store.claim_task(claim("late", key="b")), Refused)
        assert await store.operation("r", "b") is None

    asyncio.run(main())


@pytest.mark.parametrize("seconds", [10_000, -10_000], ids=["later", "set back"])
@pytest.mark.parametrize("what", ["cancels", "puts off"])
def test_who_stood_still_before_a_write_leaves_nothing_in_a_lap_that_is_cleared(
    what: str, seconds: int
) -> None:
    """It cancels a task, or lets it wait, that nobody knows any more."""
    table, store = slow_store()
    clock = cast("Now", store._clock)
    begins = Started(NOW, Value("json", Raw(b"{}")))
    cancelled, gone_on = Outcome(OutcomeKind.CANCELLED), list[bool]()
    writes: dict[str, Callable[[], Awaitable[object]]] = {
        "cancels": lambda: store.settle(Operation("r", "a", Kind.TASK), cancelled, NOW),
        "puts off": lambda: store.put_off(
            Invocation("r", "a", "work"), None, at=None, due=NOW + LEASE, lease=LEASE
        ),
    }

    async def main() -> None:
        await store.start(Header("r", "work", NOW, seed=1, runtime=1, due=NOW), begins)
        first = await store.claim("r", RunClaim("first", NOW, LEASE))
        assert isinstance(first, Header)

        async def goes_on() -> None:
            gone_on.append(True)
            held = first
            for _ in range(2):
                result = await store.next_lap(held, [begins], cancels=0)
                assert isinstance(result, Committed)
                held = result.header
                held.lap = await store.look_after_laps(held, cancel=False)
            clock.at += seconds

        table.meanwhile = goes_on
        await writes[what]()
        assert gone_on
        assert await store.operation("r", "a") is None

    asyncio.run(main())

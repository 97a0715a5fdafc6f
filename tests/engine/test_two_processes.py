"""Two processes that take the messages of one run in turn: each goes on from where it was."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from typing import Any

import msgspec
import pytest

from rewake import TaskError, race, sleep, step, task, wait_for_approval, workflow
from rewake.authoring.approval import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from rewake.engine.turns.instance import Instance
from rewake.errors import StuckError
from rewake.kinds import OutcomeKind
from rewake.records import CancelRequested, Entry, Invocation, Millis, Withdrawn
from rewake.stores.history import History
from rewake.stores.reads import MOST_CHUNKS, tail_of
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, die, virtually

begun: Counter[str] = Counter()
APPROVED = Approval(Decision.APPROVED)
everywhere = pytest.mark.parametrize("table", TABLES)
_emptied = emptied(begun)


@task
async def one(n: int) -> int:
    await asyncio.sleep(1 + (n * 7919 % 997) / 1000)
    return n


async def branch(n: int) -> int:
    return await one(await one(n))


@workflow
async def sequence(n: int) -> int:
    begun["body"] += 1
    for i in range(n):
        await one(i)
    return n


@workflow
async def branches(n: int) -> int:
    begun["body"] += 1
    return len(await asyncio.gather(*(branch(i) for i in range(n))))


@workflow
async def completed(n: int) -> int:
    begun["body"] += 1
    total = 0
    for each in asyncio.as_completed([one(i) for i in range(n)]):
        total += (await each) >= 0
    return total


async def long() -> None:
    begun["long"] += 1
    await asyncio.sleep(3)


@workflow
async def beside(n: int) -> int:
    begun["body"] += 1
    background = [asyncio.create_task(branch(i)) for i in range(n)]
    await step("long", long)
    return len(await asyncio.gather(*background))


members = [one, sequence, branches, completed, beside]


@everywhere
@pytest.mark.parametrize("name", ["sequence", "branches", "completed", "beside"])
def test_each_process_begins_a_body_once(name: str, table: str) -> None:
    """An instance that was kept goes on with what the other process committed meanwhile."""

    async def body(bench: Bench) -> None:
        _, other = bench.share_messages(2)
        assert await bench.run(name, n=12) == 12
        assert begun["body"] == 2
        await other.close()

    virtually(members, body, table=table)


@pytest.mark.parametrize("name", ["branches", "completed", "beside"])
def test_reads_grow_with_the_width_only(name: str) -> None:
    """A wake reads what arrived and what was committed since, whoever delivered it."""
    reads = {}
    for n in (40, 320):
        table = CountingTable()

        async def body(bench: Bench, n: int = n) -> None:
            _, other = bench.share_messages(2)
            assert await bench.run(name, n=n) == n
            await other.close()

        virtually(members, body, table=table, tasks=1_000)
        reads[n] = (table.gets + table.items) / n
    assert reads[320] < max(10, 1.2 * reads[40])


async def once() -> None:
    begun["once"] += 1
    await asyncio.sleep(20)


@workflow
async def careful() -> str:
    begun["body"] += 1
    await sleep(1)
    await sleep(1)
    try:
        await step("once", once, at_most_once=True)
    except TaskError as error:
        return error.type
    return "twice"


def test_a_step_that_another_process_began_is_not_begun_by_an_instance_that_was_kept() -> None:
    """With `at_most_once` it is lost with that process, as after a replay."""

    async def body(bench: Bench) -> None:
        first, second = bench.share_messages(2)
        bench.takers = itertools.repeat(first)
        run = (await bench.start("careful")).run
        await asyncio.sleep(0.5)
        bench.takers = itertools.repeat(second)
        await asyncio.sleep(4)
        assert begun == {"body": 2, "once": 1}
        die(second)
        bench.takers = itertools.repeat(first)
        assert await bench.result(run) == "lost"
        assert begun == {"body": 2, "once": 1}

    virtually([careful], body)


@task
async def never() -> None:
    await asyncio.sleep(10**6)


@workflow
async def races() -> str:
    winner = await race(never(), wait_for_approval("yes"))
    await sleep(30)
    return str(winner)


def test_what_another_process_withdrew_and_did_not_cancel_is_cancelled() -> None:
    """It may have died in between: an instance that goes on sees to it, as a replay does."""

    async def body(bench: Bench) -> None:
        first, second = bench.share_messages(2)
        bench.takers = itertools.repeat(first)
        run = (await bench.start("races")).run
        await asyncio.sleep(0.5)
        store: Any = second.services.store

        async def dies(_run: str, history: History, _now: Millis) -> None:
            if any(isinstance(entry, Withdrawn) for entry in history.entries):
                die(second)
                await asyncio.Event().wait()

        store.cancel_withdrawn = dies
        deciding = asyncio.ensure_future(Approvals(second).decide(run, "race[1]/yes", APPROVED))
        await asyncio.sleep(0.5)
        deciding.cancel()
        header, before = await first.history(run)
        assert [o.outcome for o in before.operations.values() if "never" in o.key] == [None]
        instance = Instance(first.services)
        await instance.take(header)
        instance.drop()
        _, after = await first.history(run)
        [ended] = [o.outcome for o in after.operations.values() if "never" in o.key]
        assert ended is not None
        assert ended.kind is OutcomeKind.CANCELLED

    virtually([never, races], body)


def test_a_history_that_does_not_go_on_from_an_earlier_one_is_read_whole() -> None:
    """Another chunk, another tail, or too many chunks since: what was kept is of no use."""

    async def body(bench: Bench) -> None:
        store = bench.engine.services.store
        header = await bench.start("sequence", n=60)
        await bench.result(header.run)
        header = await bench.engine.get(header.run)
        entries = (await store.entries(header)).entries
        assert header.base
        assert await store.since(header, header.base, tail_of(header.tail)) == []
        assert await store.since(header, header.base, tail_of(header.tail[:1])) == header.tail[1:]
        other: list[Entry] = [CancelRequested(0, "another")]
        assert await store.since(header, header.base, tail_of(other)) is None
        assert await store.since(header, "C#00000001#another", tail_of([])) is None
        whole = await store.since(header, "", tail_of(entries[:1]))
        assert whole is None or len(whole) == len(entries) - 1
        chunks: Any = bench.table
        number = len((await chunks.query(f"R#{header.run}", "C#")).items)
        assert (whole is None) == (number > MOST_CHUNKS)

    virtually(members, body)


@pytest.mark.parametrize("changes", [{"count": 10**6}, {"mark": "another"}])
def test_a_run_whose_history_was_changed_is_replayed(changes: dict[str, Any]) -> None:
    """An instance goes on only if the history does; else a new one begins."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("careful")).run
        await asyncio.sleep(0.5)
        services = bench.engine.services
        header = await bench.engine.get(run)
        changed = msgspec.structs.replace(header, tail=header.tail[:1], **changes)
        instance = Instance(services)
        with contextlib.suppress(StuckError):
            await instance.take(changed)
        assert (instance.replayed, begun["body"]) == (True, 2)
        instance.drop()

    virtually([careful], body)


@task
async def takes(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def takes_long() -> None:
    await asyncio.sleep(2.5)


@workflow
async def waits_for_two() -> str:
    begun["body"] += 1
    late = [asyncio.create_task(takes(100)) for _ in range(20)]
    early = [asyncio.create_task(takes(seconds)) for seconds in (1.9, 1.95, 2.0, 2.2)]
    await step("long", takes_long)
    await asyncio.gather(*early)
    for each in late:
        each.cancel()
    return "both"


def test_what_was_left_unread_while_steps_ran_is_read_before_the_run_is_parked() -> None:
    """A step ends while the turn reads what it has heard of: it reads the rest, and goes on."""

    async def body(bench: Bench) -> None:
        first, second = bench.share_messages(2)
        bench.takers = itertools.repeat(first)
        handle = first.handle

        async def share(invocation: Invocation) -> None:
            """The other process delivers the first and the third of the four."""
            elsewhere = invocation.key in ("takes[20]/takes", "takes[22]/takes")
            await (second.handle if elsewhere else handle)(invocation)

        first.handle = share  # type: ignore[method-assign]
        store: Any = first.services.store
        outcomes = store.outcomes

        async def slow(*args: Any) -> Any:
            found = await outcomes(*args)
            await asyncio.sleep(0.4 if bench.seconds > 2.1 else 0)
            return found

        store.outcomes = slow
        run = (await bench.start("waits_for_two")).run
        assert await bench.result(run) == "both"
        assert bench.seconds < 4
        assert begun["body"] == 1

    virtually([takes, waits_for_two], body)


@pytest.mark.parametrize("cut_off", [False, True])
@pytest.mark.parametrize("stays", [False, True])
def test_what_a_process_starts_as_it_closes_is_found(stays: bool, cut_off: bool) -> None:
    """Its write may land when all else is over, and nobody then is left to give the run back."""

    async def body(bench: Bench) -> None:
        closing, other = bench.engine, bench.another()
        other.open()
        await bench.start("beside", n=1)
        await asyncio.sleep(2.8)
        assert closing.services.heart.lends()  # what begins from here on is held by its name
        go = asyncio.Event()
        store: Any = closing.services.store
        start = store.start

        async def slow(*given: Any) -> Any:
            await go.wait()
            began = await start(*given)
            if not stays:
                await asyncio.Event().wait()
            return began

        async def lands(*given: Any) -> Any:
            return await asyncio.shield(asyncio.ensure_future(slow(*given)))

        store.start = lands
        starting = asyncio.ensure_future(closing.start("sequence", {"n": 2}, run="r"))
        await asyncio.sleep(0.1)
        if cut_off:
            starting.cancel()
        await closing.close(0)
        go.set()
        if stays:
            await asyncio.wait([starting], timeout=1)
        bench.engine = other
        await asyncio.sleep(0.1)
        assert await bench.result("r", 30) == 2

    virtually(members, body)

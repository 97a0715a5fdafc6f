"""What runs cost: reads grow with what arrived, and not with what is open."""

from __future__ import annotations

import asyncio

from rewake import Approval, Decision, sleep, state, task, wait_for_approval, workflow
from rewake.engine.outside.approvals import Approvals, approvals_of
from rewake.ledger import View
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, virtually

failed: set[int] = set()
YES = Approval(Decision.APPROVED)


@task
async def one(n: int) -> int:
    await asyncio.sleep(1 + (n * 7919 % 997) / 1000)
    return n


@task(retries=2, delay=4)
async def flaky(n: int) -> int:
    if n not in failed:
        failed.add(n)
        raise ValueError("once")
    return n


async def branch(n: int) -> int:
    return await one(await one(n))


@workflow
async def branches(n: int) -> int:
    return len(await asyncio.gather(*(branch(i) for i in range(n))))


@workflow
async def sequence(n: int) -> int:
    for i in range(n):
        await one(i)
    return n


@workflow
async def completed(n: int) -> int:
    total = 0
    for each in asyncio.as_completed([one(i) for i in range(n)]):
        total += (await each) >= 0
    return total


@workflow
async def retried(n: int) -> int:
    return len(await asyncio.gather(*(flaky(i) for i in range(n))))


def reads_of(workflow: str, n: int) -> int:
    """How many items are read, by key and in queries, for a run of this width."""
    table = CountingTable()
    failed.clear()

    async def body(bench: Bench) -> None:
        assert await bench.run(workflow, n=n) == n

    virtually([one, flaky, branches, sequence, completed, retried], body, table=table)
    return table.gets + table.items


def test_a_fan_out_of_branches_reads_in_proportion_to_its_width() -> None:
    """However many branches, of two tasks that end one after another: a few reads for each.

    A wake reads what has arrived, not all that is open.
    """
    for n in (40, 320):
        assert reads_of("branches", n) < 12 * n


def test_a_look_at_a_sequence_reads_what_is_open() -> None:
    """However long the run has become: a look at it comes every few seconds."""
    for n in (40, 320):
        assert reads_of("sequence", n) < 8 * n


def test_as_completed_reads_in_proportion_to_its_width() -> None:
    """Each task that ends wakes the body, which then reads that one."""
    for n in (40, 320):
        assert reads_of("completed", n) < 12 * n


def test_retries_in_backoff_read_in_proportion_to_their_number() -> None:
    """A look at a task whose retry is due reads that task, not the whole history."""
    for n in (40, 320):
        assert reads_of("retried", n) < 12 * n


@workflow
async def asks_many(n: int) -> int:
    return len(await asyncio.gather(*(wait_for_approval(f"a{i}") for i in range(n))))


def test_a_decision_reads_what_it_decides() -> None:
    """However many approvals a run waits for: no decision reads all of them, where it is kept."""

    async def body(bench: Bench) -> None:
        for n in (40, 320):
            header = await bench.start("asks_many", n=n)
            await asyncio.sleep(1)
            header = await bench.engine.get(header.run)
            asked = await approvals_of(bench.engine, header)
            table.count_anew()
            for each in asked:
                await Approvals(bench.engine).decide(header.run, each.key, YES)
                await asyncio.sleep(0.1)
            assert await bench.result(header.run) == n
            assert table.gets + table.items < 8 * n

    table = CountingTable()
    virtually([asks_many], body, table=table)


@task
async def large(n: int) -> str:
    return chr(97 + n) * 100_000


@workflow
async def waits(n: int) -> int:
    total = 0
    for i in range(n):
        total += len(await large(i))
    await sleep(60)
    return total


def test_no_look_at_a_run_reads_its_large_values() -> None:
    """A status, an outline and the sweeper's looks read entries; the history itself, if asked."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        header = await bench.start("waits", n=6)
        await asyncio.sleep(5)
        header = await bench.engine.get(header.run)
        table.count_anew()
        await asyncio.sleep(20)  # with sweeps
        assert await approvals_of(bench.engine, header) == []
        assert table.items < 5  # chunks of its history; none of its six operations
        _, outline = await bench.engine.history(header.run)
        assert len(outline.operations) == 6
        assert table.blobs == 0
        _, whole = await bench.engine.history(header.run, whole=True)
        assert table.blobs == 6
        assert all(len(bytes(o.value.body)) > 100_000 for o in whole.outcomes().values() if o.value)

    virtually([large, waits], body, table=table)


def test_the_result_of_a_run_is_read_without_its_history() -> None:
    """One header and, where the end is not in it, one chunk: whatever the run has done."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        header = await bench.start("branches", n=40)
        assert await bench.result(header.run) == 40
        table.count_anew()
        assert await bench.engine.result(header.run) is not None
        assert table.gets <= 2
        assert table.items == 0

    virtually([one, branches], body, table=table)


@workflow
async def nothing(n: int) -> int:
    return n


def test_starts_of_one_key_leave_nothing_in_the_list() -> None:
    """The newest runs are the newest runs, however often one of them was started again."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        engine = bench.engine
        for key in ("a", "b"):
            await engine.start("nothing", {"n": 1}, idempotency_key=key)
            await asyncio.sleep(1)
        for _ in range(60):
            await engine.start("nothing", {"n": 1}, idempotency_key="a")
            await asyncio.sleep(1)
        table.count_anew()
        found, _ = await engine.list(limit=2)
        assert len(found) == len({header.run for header in found}) == 2
        assert table.items == 3  # their day, the views of these two, and no others

    virtually([nothing], body, table=table)


def test_a_page_of_a_list_is_full_whatever_lies_between() -> None:
    """A start may die before it removes the view that it made: the page goes on behind it."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        first = await bench.start("nothing", n=1)
        for n in range(30):
            await asyncio.sleep(1)
            view = View(first.run, "nothing", first.created + 1 + n)
            await bench.engine.services.store.listed.put(view)
        await asyncio.sleep(40)
        second = await bench.start("branches", n=1)
        found, cursor = await bench.engine.list(limit=2)
        assert [header.run for header in found] == [second.run, first.run]
        found, _ = await bench.engine.list(limit=1, workflow="nothing")
        assert [header.run for header in found] == [first.run]
        found, cursor = await bench.engine.list(limit=1)
        assert [header.run for header in found] == [second.run]
        found, cursor = await bench.engine.list(limit=1, cursor=cursor)
        assert [header.run for header in found] == [first.run]

    virtually([nothing, one, branches], body, table=table)


def test_a_list_since_a_moment_looks_at_nothing_older() -> None:
    """However many older runs there are, and whichever filter passes none of them."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        for n in range(300):
            await bench.start("nothing", n=n)
        await asyncio.sleep(100)
        since = bench.engine.services.clock.now()
        new = await bench.start("nothing", n=1)
        table.count_anew()
        found, cursor = await bench.engine.list(limit=10, since=since)
        assert ([header.run for header in found], cursor) == ([new.run], None)
        found, cursor = await bench.engine.list(limit=10, since=since, workflow="branches")
        assert (found, cursor) == ([], None)
        assert table.gets == 1
        assert table.items <= 60

    virtually([nothing, one, branches], body, table=table)


@workflow
async def crowd(n: int) -> int:
    async def enters() -> None:
        async with state("counter", "one", timeout=600) as held:
            held.value = (held.value or 0) + 1

    await asyncio.gather(*(enters() for _ in range(n)))
    return n


def test_a_state_that_many_enter_at_once_costs_what_each_does() -> None:
    """Those of one process write one after the other, and none in vain."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        for n in (40, 160):
            table.count_anew()
            assert await bench.run("crowd", n=n) == n
            assert table.refused < n
            assert table.gets < 30 * n

    virtually([crowd], body, table=table)

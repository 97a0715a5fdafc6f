"""Blocks in an engine: kept as one, retried durably, passed over, and retried by people."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest

from rewake import (
    TaskError,
    block,
    parallel,
    random,
    set_labels,
    set_progress,
    set_status,
    sleep,
    step,
    task,
    task_context,
    workflow,
)
from rewake.kinds import Kind
from rewake.states import RunState
from rewake.views.timeline import timeline
from tests.engine.test_encryption import CANARY, SEALING, stored
from tests.support.counting import CountingTable
from tests.support.virtual import Bench, Ended, virtually

warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
calls: list[tuple[str, str]] = []
bug: list[str] = []


@task
async def book(what: str) -> str:
    calls.append((what, task_context().idempotency_key))
    if what in bug:
        raise ValueError(f"no {what}")
    return what


@task
async def unbook(what: str) -> str:
    calls.append((f"un{what}", ""))
    return what


async def trip() -> list[str]:
    found = [await book("flight"), await step("rate", lambda: str(random().random()))]
    await sleep(60)
    return [*found, await book("hotel")]


@workflow
async def plain() -> list[Any]:
    """One block, and something after it."""
    booked = await block("book trip", trip)
    await sleep(60)
    return [booked, await book("taxi")]


@workflow
async def retried() -> list[str]:
    """A block that is tried three times."""
    return await block("book trip", trip, retries=2, delay=100, jitter=0)


@workflow
async def saga() -> str:
    """What was done before the error is undone, in reverse."""
    done: list[str] = []

    async def all_of_it() -> None:
        done.append(await book("flight"))
        done.append(await book("hotel"))
        done.append(await book("car"))

    try:
        await block("book all", all_of_it, retries=1, delay=10)
    except TaskError:
        for what in reversed(done):
            await unbook(what)
        return "undone"
    return "booked"


@workflow
async def large() -> int:
    """A block whose inside has large values."""

    async def inside() -> int:
        pages = await parallel(["x" * 50_000] * 3, book, name="page")
        return sum(map(len, pages))

    found = await block("pages", inside)
    await sleep(60)
    return found + len(await book("taxi"))


@workflow
async def shows() -> int:
    """Says of itself where it is, inside and outside of a block."""
    set_status("begun")
    set_labels(customer="c1")

    async def inside() -> None:
        set_status("inside")
        set_progress(1, 3)
        set_labels(order="o1")
        await book("taxi")

    await block("b", inside)
    await sleep(60)
    set_progress(2, 3)
    set_labels(paid="yes")
    await sleep(60)
    return 1


FUNCTIONS = [book, unbook, plain, retried, saga, large, shows]


@warm_and_cold
def test_a_block_runs_and_is_kept(cached: int) -> None:
    """Its result is one operation's, and the operations inside are beside it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("plain")
        [booked, taxi] = await bench.result(header.run)
        assert (booked[0], booked[2], taxi) == ("flight", "hotel", "taxi")
        found = await bench.engine.services.store.history(await bench.engine.get(header.run))
        [outer] = [o for o in timeline(found)[1] if o.kind is Kind.BLOCK]
        assert (outer.key, outer.state, outer.tries) == ("book trip", "done", [])

    virtually(FUNCTIONS, body, cached=cached)


@warm_and_cold
def test_a_block_costs_no_write_of_its_own(cached: int) -> None:
    """Its beginning and its end are entries of the commits around what it does."""
    writes: dict[str, int] = {}

    @workflow
    async def bare() -> list[Any]:
        booked = await trip()
        await sleep(60)
        return [booked, await book("taxi")]

    for name in ("bare", "plain"):
        table = CountingTable()

        async def body(bench: Bench, name: str = name) -> None:
            await bench.run(name)

        virtually([*FUNCTIONS, bare], body, table=table, cached=cached)
        writes[name] = table.writes
    assert writes["plain"] == writes["bare"]


@warm_and_cold
def test_each_attempt_has_idempotency_keys_of_its_own(cached: int) -> None:
    """What the attempt before has finished is not undone, and what it began is begun anew."""
    calls.clear()
    bug[:] = ["hotel"]

    async def body(bench: Bench) -> None:
        header = await bench.start("retried")
        await sleep_until_called("hotel", bench)
        bug.clear()
        assert (await bench.result(header.run))[0] == "flight"

    virtually(FUNCTIONS, body, cached=cached)
    assert [what for what, _ in calls] == ["flight", "hotel", "flight", "hotel"]
    assert len({key for _, key in calls}) == 4


async def sleep_until_called(what: str, bench: Bench) -> None:
    while what not in [each for each, _ in calls]:
        await bench.engine.services.clock.sleep(1_000)


@warm_and_cold
def test_a_saga_undoes_what_was_done(cached: int) -> None:
    """In the last attempt, and in the first."""
    calls.clear()
    bug[:] = ["car"]

    async def body(bench: Bench) -> None:
        # `done` has what both attempts have booked: it is of the workflow, not of an attempt.
        assert await bench.run("saga") == "undone"

    virtually(FUNCTIONS, body, cached=cached)
    bug.clear()
    undone = [what for what, _ in calls if what.startswith("un")]
    assert undone == ["unhotel", "unflight", "unhotel", "unflight"]


@warm_and_cold
def test_a_failed_run_is_retried_inside_of_its_block(cached: int) -> None:
    """`runs retry` goes back to the operation that the block has failed by, in its last attempt."""
    calls.clear()
    bug[:] = ["hotel"]

    async def body(bench: Bench) -> None:
        header = await bench.start("retried")
        with pytest.raises(Ended, match="TaskError"):
            await bench.result(header.run)
        bug.clear()
        assert (await bench.engine.get(header.run)).state is RunState.FAILED
        await bench.engine.retry(header.run)
        assert (await bench.result(header.run))[2] == "hotel"

    virtually(FUNCTIONS, body, cached=cached)
    assert [what for what, _ in calls] == ["flight", "hotel"] * 3 + ["hotel"]


def test_a_replay_reads_no_large_value_of_what_it_passes_over() -> None:
    """Nor does it need one that is gone."""

    async def body(bench: Bench) -> None:
        header = await bench.start("large")
        await bench.engine.services.clock.sleep(30_000)
        store = bench.engine.services.store
        while await store.remove_values(header.run):
            pass
        assert await bench.result(header.run) == 150_004

    virtually(FUNCTIONS, body, cached=0)


@warm_and_cold
def test_what_is_shown_inside_is_known_behind_it(cached: int) -> None:
    """Status, progress and labels, as they would be had there been no block."""

    async def body(bench: Bench) -> None:
        header = await bench.start("shows")
        await bench.engine.services.clock.sleep(90_000)
        found = await bench.engine.get(header.run)
        assert found.labels == {"customer": "c1", "order": "o1", "paid": "yes"}
        assert found.status is not None
        assert b'"status":"inside"' in bytes(found.status.body)
        assert b'"total":3' in bytes(found.status.body)

    virtually(FUNCTIONS, body, cached=cached)


@task
async def refuses(word: str) -> None:
    raise ValueError(f"the task fails with {word}")


@workflow(retries=2, delay=1)
async def tells(word: str) -> str:
    """A block that fails and succeeds, in a body that fails once: each says the word."""

    async def inside() -> str:
        if "[0]" in await step("attempt", lambda: task_context().key):
            raise ValueError(f"the block fails with {word}")
        return f"the block is {word}"

    found = await block("b", inside, retries=1, delay=1)
    with suppress(TaskError):
        await block("failing", lambda: refuses(word))
    if not (await step("where", lambda: task_context().key)).startswith("lap"):
        raise ValueError(f"the body fails with {word}")
    return found


def test_blocks_and_bodies_that_begin_anew_are_sealed() -> None:
    """What they come to, and what they failed with, as that of a step or a run is."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("tells", word=CANARY)).run
        assert CANARY in await bench.result(run)
        assert CANARY.encode() not in stored(bench.table)

    virtually([refuses, tells], body, secret=SEALING, cached=0)

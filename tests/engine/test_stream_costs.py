"""What emitting and following cost, and how a body that only emits is kept within bounds."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from rewake import emit, step, task_context, workflow
from rewake.kinds import Kind
from rewake.records import Fired, Scheduled
from rewake.states import RunState
from rewake.views.timeline import timeline
from rewake.views.values import Values
from tests.support.counting import CountingTable
from tests.support.streaming import Follower
from tests.support.virtual import SECRET, Bench, virtually


@workflow
async def counts(rounds: int, emits: bool) -> None:
    for number in range(rounds):
        if emits:
            await emit(number)
        await step("work", lambda: None)


def emits(count: int) -> None:
    for number in range(count):
        task_context().emit(number)


@workflow
async def many(count: int, inside: bool) -> None:
    if inside:
        await step("emits", functools.partial(emits, count))
    else:
        for number in range(count):
            await emit(number)


async def _writes(bench: Bench, table: CountingTable, workflow: str, **arguments: Any) -> int:
    table.count_anew()
    await bench.run(workflow, **arguments)
    return table.writes


def test_an_emit_between_steps_costs_no_commit() -> None:
    """It is in the commit that comes anyway; before the first step it is one of its own."""
    table = CountingTable()

    async def body(bench: Bench) -> None:
        for rounds in (1, 5):
            without = await _writes(bench, table, "counts", rounds=rounds, emits=False)
            # Its entries fill the header sooner: some more chunks of history.
            assert await _writes(bench, table, "counts", rounds=rounds, emits=True) <= (
                without + 1 + rounds // 2
            )

    virtually([counts], body, table=table)


def test_a_body_that_only_emits_is_interrupted() -> None:
    """After a thousand items it waits until they are committed; others go on meanwhile."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("many", count=2_500, inside=False)).run
        await bench.result(run)
        header, history = await bench.engine.history(run)
        sizes = [0]
        for entry in history.entries:
            if isinstance(entry, Fired):
                sizes.append(0)
            sizes[-1] += isinstance(entry, Scheduled) and entry.kind is Kind.EMIT
        assert sizes == [1_000, 1_000, 500]
        assert header.state is RunState.DONE

    virtually([many], body, cached=0)


def test_a_history_shows_what_was_emitted() -> None:
    """Its entries have the values; what is emitted is no operation that anybody waits for."""

    async def body(bench: Bench) -> None:
        run = (await bench.start("counts", rounds=1, emits=True)).run
        await bench.result(run)
        _, history = await bench.engine.history(run)
        entries, operations = timeline(history, Values(SECRET, run))
        assert [bytes(e["value"]) for e in entries if e.get("kind") is Kind.EMIT] == [b"0"]
        assert [operation.key for operation in operations] == ["work"]

    virtually([counts], body)


@pytest.mark.parametrize("inside", [False, True], ids=["body", "attempt"])
def test_many_items_are_linear(inside: bool) -> None:
    """Twice the items cost at most twice the writes and reads, however they are read."""
    table = CountingTable()
    found: dict[int, tuple[int, int]] = {}

    async def body(bench: Bench) -> None:
        for count in (4_000, 8_000):
            table.count_anew()
            run = (await bench.start("many", count=count, inside=inside)).run
            await bench.result(run)
            writes = table.writes
            table.count_anew()
            follower = Follower(bench.engine, run)
            await follower.read()
            assert follower.items == list(range(count))
            found[count] = (writes, table.reads)

    virtually([many], body, table=table)
    for half, whole in zip(*found.values(), strict=True):
        assert whole <= 2.3 * half
    assert found[8_000][0] < 1_000  # units of a KiB

"""Every attempt is on record: when it began and ended, where, its error, that it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from rewake import task, task_context, workflow
from rewake.records import Invocation
from rewake.stores.operations import MOST_TRIES
from rewake.views.timeline import OperationView, timeline
from rewake.views.values import Values
from tests.support.virtual import SECRET, TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
numbers: list[int] = []


@task(retries=20, delay=1, multiplier=1, jitter=0)
async def charge(order: str, works_at: int) -> str:
    number = task_context().attempt
    numbers.append(number)
    task_context().logger.info("attempt %d", number)
    if number < works_at:
        raise ConnectionError(f"no answer for {order}")
    return "charged"


@workflow
async def buy(works_at: int) -> str:
    return await charge("B1", works_at)


@task
async def long() -> None:
    numbers.append(task_context().attempt)
    task_context().logger.info("hello")
    await asyncio.sleep(60)


@workflow
async def waits() -> None:
    await long()


@pytest.fixture(autouse=True)
def _no_numbers() -> None:
    numbers.clear()


async def shown(bench: Bench, run: str) -> OperationView:
    _, history = await bench.engine.history(run)
    _, [operation] = timeline(history, Values(SECRET, run))
    return operation


def facts(operation: OperationView, *read: Callable[[Any], Any]) -> list[tuple[Any, ...]]:
    return [tuple(each(one) for each in read) for one in operation.tries]


@everywhere
def test_each_failed_attempt_is_kept(table: str) -> None:
    """Two fail and one works: three tries with times, process and errors; the names of old stay.

    The newest failed one has its traceback.
    """

    async def body(bench: Bench) -> None:
        header = await bench.start("buy", works_at=3)
        await bench.result(header.run)
        operation = await shown(bench, header.run)
        assert (operation.attempts, operation.lost, operation.state) == (3, 0, "done")
        found = facts(operation, lambda t: t.attempt, lambda t: t.error and t.error.type)
        assert found == [(1, "ConnectionError"), (2, "ConnectionError"), (3, None)]
        assert all(t.began and t.ended and t.where == "here:1" for t in operation.tries)
        assert operation.tries[2].began != operation.tries[1].began
        tracebacks = [t.error.traceback if t.error else "" for t in operation.tries]
        assert (tracebacks[0], "in charge" in tracebacks[1]) == ("", True)
        assert isinstance(operation.arguments, msgspec.Raw)
        assert b"B1" in bytes(operation.arguments)

    virtually([buy, charge], body, table=table, where="here:1")


def test_tries_are_bounded() -> None:
    """Of many attempts the newest are kept; `attempts` counts them all."""

    async def body(bench: Bench) -> None:
        header = await bench.start("buy", works_at=15)
        await bench.result(header.run)
        operation = await shown(bench, header.run)
        assert operation.attempts == 15
        assert [t.attempt for t in operation.tries] == [*range(15 - MOST_TRIES, 15), 15]

    virtually([buy, charge], body)


@everywhere
def test_a_lost_attempt_is_kept(table: str) -> None:
    """An attempt that ended with its process is a try that was lost, in the process that had it."""

    async def body(bench: Bench) -> None:
        bench.lose_first_messages()
        header = await bench.start("buy", works_at=1)
        await bench.engine.result(header.run, 1)
        services = bench.engine.services
        claim = services.task_claim(header.run, Invocation(header.run, "charge", "charge"))
        dead = msgspec.structs.replace(claim, where="there:2")
        await services.store.claim_task(dead)  # by a process that dies here
        await bench.result(header.run)
        operation = await shown(bench, header.run)
        assert (operation.attempts, operation.lost) == (2, 1)
        found = facts(operation, lambda t: t.attempt, lambda t: t.where, lambda t: t.lost)
        assert found == [(1, "there:2", True), (2, "here:1", False)]

    virtually([buy, charge], body, table=table, where="here:1")


def test_the_number_of_a_released_attempt_is_not_given_back() -> None:
    """What an attempt said before a close is kept, and the next one does not overwrite it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits")
        await bench.engine.result(header.run, 5)
        await bench.engine.close(0)
        other = bench.another()
        other.open()
        await other.result(header.run, 200)
        batches = await other.logs(header.run, "long")
        assert numbers == [1, 2]
        assert [(b.attempt, [line.message for line in b.lines]) for b in batches] == [
            (1, ["hello"]),
            (2, ["hello"]),
        ]
        _, history = await other.history(header.run)
        _, [operation] = timeline(history)
        assert (operation.attempts, operation.lost) == (1, 0)
        found = facts(operation, lambda t: t.attempt, lambda t: t.error, lambda t: t.lost)
        assert found == [(1, None, False), (2, None, False)]
        await other.close()

    virtually([waits, long], body)


@everywhere
def test_what_an_attempt_says_is_kept_within_a_second(table: str) -> None:
    """While it runs, what it said is stored already, in case its process dies; each line once."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits")
        await bench.engine.result(header.run, 2)
        early = await bench.engine.logs(header.run, "long")
        assert [line.message for batch in early for line in batch.lines] == ["hello"]
        await bench.result(header.run)
        assert await bench.engine.logs(header.run, "long") == early

    virtually([waits, long], body, table=table)

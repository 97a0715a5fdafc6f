"""What an engine promises about a run, in virtual time, on both tables, warm and cold."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from rewake import (
    Approval,
    Decision,
    NonRetryable,
    RetryAfter,
    TaskError,
    now,
    parallel,
    race,
    sleep,
    step,
    task,
    task_context,
    wait_for_approval,
    workflow,
)
from rewake.engine.outside.approvals import Approvals
from rewake.errors import InvalidInput, RunConflict, RunNotFound, StuckError
from rewake.kinds import OutcomeKind
from rewake.records import Completed, Invocation, Operation
from rewake.states import RunState
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, Ended, virtually

calls: list[Any] = []
_emptied = emptied(calls)


everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])


@task
async def double(number: int) -> int:
    calls.append(number)
    await asyncio.sleep(number / 10)
    return 2 * number


@workflow
async def everything(numbers: list[int]) -> dict[str, object]:
    async def one(number: int) -> int:
        doubled = await double(number)
        return await task(lambda: doubled + 1)

    rows = await parallel(numbers, one, concurrency=2)
    stamped = await step("stamp", lambda: len(rows))
    began = now()
    await sleep(3600)
    slept = (now() - began).total_seconds()
    first = await race(double(1), double(30))
    return {"rows": rows, "stamped": stamped, "slept": slept, "first": first}


async def operations(bench: Bench) -> list[Operation]:
    """The operations of the newest run."""
    (header, *_), _ = await bench.engine.list()
    _, history = await bench.engine.history(header.run)
    return list(history.operations.values())


@everywhere
@warm_and_cold
def test_a_run_gives_the_right_result(table: str, cached: int) -> None:
    """Tasks, closures, steps, sleeps and races give the same result, warm and replayed."""

    async def body(bench: Bench) -> None:
        result = await bench.run("everything", numbers=[3, 1, 2])
        assert result["rows"] == [7, 3, 5]
        assert result["stamped"] == 3
        assert 3600 <= result["slept"] < 3600.1
        assert result["first"] == 2
        assert sorted(calls) == [1, 1, 2, 3, 30]
        assert all(o.attempts == 1 and o.lost == 0 for o in await operations(bench))

    virtually([everything, double], body, table=table, cached=cached)


@task(retries=2, delay=10, jitter=0)
async def flaky(until: int) -> int:
    context = task_context()
    calls.append((context.attempt, context.idempotency_key))
    if context.attempt < until:
        raise ValueError(f"attempt {context.attempt}")
    return context.attempt


@workflow
async def tries(until: int) -> int:
    return await flaky(until)


@everywhere
def test_a_failed_task_is_tried_again_after_its_backoff(table: str) -> None:
    """Retries wait 10 s, then 20 s, and every attempt has the same idempotency key."""

    async def body(bench: Bench) -> None:
        assert await bench.run("tries", until=3) == 3
        assert 29.9 <= bench.seconds < 31
        assert [attempt for attempt, _ in calls] == [1, 2, 3]
        assert len({key for _, key in calls}) == 1

    virtually([tries, flaky], body, table=table)


def test_a_task_without_retries_left_raises_its_error() -> None:
    """The failure names the original type and message, and how many attempts were made."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("tries", until=9)
        failure = ended.value.failure
        assert failure is not None
        assert failure.type == "TaskError"
        assert "ValueError: attempt 3" in failure.message

    virtually([tries, flaky], body)


@task(retries=5, delay=1)
async def picky(how: str) -> str:
    calls.append(how)
    if how == "never":
        raise NonRetryable("no use")
    if task_context().attempt == 1:
        raise RetryAfter(500)
    return how


@workflow
async def pick(how: str) -> str:
    try:
        return await picky(how)
    except TaskError as error:
        return f"{error.type}, {error.attempts}"


def test_a_task_says_when_and_whether_it_is_tried_again() -> None:
    """`NonRetryable` ends a task at once; `RetryAfter` sets the wait."""

    async def body(bench: Bench) -> None:
        assert await bench.run("pick", how="never") == "NonRetryable, 1"
        assert await bench.run("pick", how="later") == "later"
        assert 499.9 <= bench.seconds < 501

    virtually([pick, picky], body)


@task(timeout=5, retries=1, delay=1, jitter=0)
async def slow() -> None:
    await asyncio.sleep(100)


@task(total_timeout=12, timeout=5, retries=50, delay=0)
async def slower() -> None:
    await asyncio.sleep(100)


@workflow
async def waits(which: str) -> str:
    try:
        await (slow() if which == "attempt" else slower())
    except TaskError as error:
        return f"{error.type} after {error.attempts}"
    return "done"


def test_time_outs_of_an_attempt_and_of_a_task() -> None:
    """`timeout` bounds each attempt, `total_timeout` all of them with their waits."""

    async def body(bench: Bench) -> None:
        assert await bench.run("waits", which="attempt") == "TimeoutError after 2"
        assert 10.9 <= bench.seconds < 12
        began = bench.seconds
        assert (await bench.run("waits", which="total")).startswith("TimeoutError after 3")
        assert 10.9 <= bench.seconds - began <= 12.5

    virtually([waits, slow, slower], body)


@workflow(timeout=60)
async def endless() -> None:
    try:
        await sleep(3600)
    finally:
        await double(1)


def test_a_run_out_of_time_cleans_up_and_fails() -> None:
    """A run's timeout cancels it from inside: its cleanup runs, then it has failed."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("endless")
        assert ended.value.kind is OutcomeKind.TIMEOUT
        assert calls == [1]
        assert 59.9 <= bench.seconds < 62

    virtually([endless, double], body)


@everywhere
def test_cancel_runs_the_cleanup_and_ends_the_run(table: str) -> None:
    """A sleeping run that is cancelled wakes, cleans up, and ends as cancelled; then no more."""

    async def body(bench: Bench) -> None:
        header = await bench.start("endless")
        await asyncio.sleep(5)
        await bench.engine.cancel(header.run, "enough")
        with pytest.raises(Ended) as ended:
            await bench.result(header.run)
        assert ended.value.kind is OutcomeKind.CANCELLED
        assert ended.value.failure is not None
        assert ended.value.failure.message == "enough"
        assert calls == [1]
        with pytest.raises(RunConflict):
            await bench.engine.cancel(header.run)

    virtually([endless, double], body, table=table)


@workflow
async def asks() -> list[str]:
    first, second = await asyncio.gather(
        wait_for_approval("first", timeout=100), wait_for_approval("second", timeout=1000)
    )
    return [f"{a.decision} {a.value} {a.approver}" for a in (first, second)]


@everywhere
def test_approvals_are_decided_in_any_order_and_once(table: str) -> None:
    """Two open approvals: one times out, the other is decided; both stay as they are."""

    async def body(bench: Bench) -> None:
        header = await bench.start("asks")
        await asyncio.sleep(150)
        first, second = "wait_for_approval[0]/first", "wait_for_approval[1]/second"
        yes = Approval(Decision.APPROVED, {"limit": 3}, "ada")
        with pytest.raises(RunConflict):
            await Approvals(bench.engine).decide(header.run, first, yes)
        await Approvals(bench.engine).decide(header.run, second, yes)
        with pytest.raises(RunConflict):
            await Approvals(bench.engine).decide(header.run, second, Approval(Decision.REJECTED))
        with pytest.raises(RunNotFound):
            await Approvals(bench.engine).decide(header.run, "third", yes)
        assert await bench.result(header.run) == [
            "timed_out None None",
            "approved {'limit': 3} ada",
        ]

    virtually([asks], body, table=table)


@workflow
async def once() -> str:
    try:
        return await step("charge", charge, at_most_once=True)
    except TaskError as error:
        return error.type


async def charge() -> str:
    calls.append("charge")
    await asyncio.sleep(50)
    return "charged"


def test_a_step_that_runs_at_most_once_is_not_repeated() -> None:
    """Its process goes away in the middle: the step is reported lost, not run again."""

    async def body(bench: Bench) -> None:
        header = await bench.start("once")
        await asyncio.sleep(10)
        other = bench.another()
        other.open()
        await bench.engine.close(grace=0)
        bench.engine = other
        assert await bench.result(header.run) == "lost"
        assert calls == ["charge"]

    virtually([once], body, table="memory")


@task
async def long(seconds: int) -> str:
    calls.append("begun")
    await asyncio.sleep(seconds)
    return "done"


@workflow
async def waits_long(seconds: int) -> str:
    return await long(seconds)


@everywhere
def test_a_long_task_keeps_its_lease(table: str) -> None:
    """An hour of work with a 5 s lease is begun once, also with another process looking on."""

    async def body(bench: Bench) -> None:
        other = bench.another()
        other.open()
        assert await bench.run("waits_long", seconds=3600) == "done"
        assert calls == ["begun"]
        await other.close()

    virtually([waits_long, long], body, table=table)


def test_a_process_that_closes_releases_its_work_at_once() -> None:
    """A graceful shutdown lets another process begin the task again without waiting for a lease."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits_long", seconds=100)
        await asyncio.sleep(20)
        other = bench.another()
        other.open()
        began = bench.seconds
        await bench.engine.close(grace=0)
        bench.engine = other
        assert await bench.result(header.run) == "done"
        assert bench.seconds - began < 102
        assert calls == ["begun", "begun"]

    virtually([waits_long, long], body)


@dataclass
class Row:
    """A result that JSON alone cannot restore."""

    name: str
    size: int


@task
async def big(size: int) -> Row:
    return Row("x" * size, size)


@workflow
async def large(size: int) -> Row:
    row = await big(size)
    await sleep(10)
    return await step("again", lambda: Row(row.name, len(row.name)))


@everywhere
@warm_and_cold
def test_large_typed_values_come_back_as_they_were(table: str, cached: int) -> None:
    """A dataclass of a megabyte passes through tasks, steps and results unchanged."""

    async def body(bench: Bench) -> None:
        result = await bench.run("large", size=1_000_000)
        assert result == Row("x" * 1_000_000, 1_000_000)

    virtually([large, big], body, table=table, cached=cached)


@workflow
async def fan(count: int) -> int:
    return sum(await asyncio.gather(*(double(number % 5) for number in range(count))))


def test_a_fan_out_wakes_its_parent_once() -> None:
    """The parent of 300 plain tasks observes all of them in one go, at the end."""

    async def body(bench: Bench) -> None:
        header = await bench.start("fan", count=300)
        assert await bench.result(header.run) == 2 * sum(n % 5 for n in range(300))
        _, history = await bench.engine.history(header.run)
        observed = [e.clock for e in history.entries if isinstance(e, Completed)]
        assert len(observed) == 300
        assert len(set(observed)) == 1

    virtually([fan, double], body, tasks=50)


@workflow
async def waits_for_a_while() -> list[int]:
    works = [asyncio.create_task(double(number)) for number in (20, 10, 300)]
    done, pending = await asyncio.wait(works, timeout=5)
    for work in pending:
        work.cancel()
    return sorted(work.result() for work in done)


@everywhere
def test_a_wait_wakes_once(table: str) -> None:
    """What ended before a wait's timeout is done, though the run was not woken for each."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits_for_a_while")
        await asyncio.sleep(4)
        assert (await bench.engine.get(header.run)).epoch == 1
        assert await bench.result(header.run) == [20, 40]
        assert 4.9 <= bench.seconds < 6

    virtually([waits_for_a_while, double], body, table=table)


def test_starting_twice_with_one_key_is_one_run() -> None:
    """The same key gives the same run, also when it is over; other arguments are refused."""

    async def body(bench: Bench) -> None:
        start = bench.engine.start
        first, new = await start("fan", {"count": 2}, idempotency_key="k")
        again, repeated = await start("fan", {"count": 2}, idempotency_key="k")
        assert (new, repeated) == (True, False)
        assert first.run == again.run
        await bench.result(first.run)
        over, _ = await start("fan", {"count": 2}, idempotency_key="k")
        assert over.state is RunState.DONE
        with pytest.raises(RunConflict):
            await start("fan", {"count": 3}, idempotency_key="k")
        assert sorted(calls) == [0, 1]

    virtually([fan, double], body)


def test_arguments_that_do_not_fit_are_refused_before_anything_happens() -> None:
    """The error names the argument, and no run exists."""

    async def body(bench: Bench) -> None:
        refused_arguments: list[tuple[dict[str, object], str]] = [
            ({"count": "many"}, "count"),
            ({}, "count"),
            ({"count": 1, "more": 2}, "more"),
        ]
        for arguments, field in refused_arguments:
            with pytest.raises(InvalidInput) as refused:
                await bench.engine.start("fan", arguments)
            assert refused.value.field == field
        with pytest.raises(RunNotFound):
            await bench.engine.start("unknown", {})
        assert await bench.engine.list() == ([], None)

    virtually([fan, double], body)


@workflow
async def hangs() -> None:
    await asyncio.Event().wait()


def test_a_workflow_that_nothing_can_wake_is_set_aside() -> None:
    """Waiting for something that no operation brings about is a deadlock: the run is stuck."""

    async def body(bench: Bench) -> None:
        header = await bench.start("hangs")
        with pytest.raises(StuckError, match="deadlock"):
            await bench.result(header.run)
        assert (await bench.engine.get(header.run)).state is RunState.STUCK
        await bench.engine.cancel(header.run, even_stuck=True)
        assert (await bench.engine.get(header.run)).state is RunState.CANCELLED

    virtually([hangs], body)


@workflow
async def breaks() -> None:
    await sleep(1)
    raise KeyError("no such thing")


def test_an_ordinary_exception_fails_the_run_at_once() -> None:
    """The run has failed, with the exception's type, message and traceback."""

    async def body(bench: Bench) -> None:
        with pytest.raises(Ended) as ended:
            await bench.run("breaks")
        failure = ended.value.failure
        assert failure is not None
        assert failure.type == "KeyError"
        assert "in breaks" in failure.traceback

    virtually([breaks], body)


def test_runs_are_listed_newest_first_and_paged() -> None:
    """Every run is on exactly one page, filtered by state where asked."""

    async def body(bench: Bench) -> None:
        started = []
        for _ in range(5):
            started.append((await bench.start("fan", count=1)).run)
            await asyncio.sleep(1)
        listed, cursor = [], None
        while True:
            page, cursor = await bench.engine.list(limit=2, cursor=cursor)
            listed += [header.run for header in page]
            if cursor is None:
                break
        assert listed == started[::-1]
        done, _ = await bench.engine.list(state=RunState.DONE)
        assert len(done) == 5

    virtually([fan, double], body)


@task
async def measures(text: str) -> int:
    return len(text)


@workflow
async def wide(count: int) -> int:
    return sum(await asyncio.gather(*(measures("x" * 1000) for _ in range(count))))


@everywhere
@warm_and_cold
def test_a_commit_may_be_larger_than_an_item(table: str, cached: int) -> None:
    """A fan-out whose arguments exceed what an item of the table holds is stored in parts."""

    async def body(bench: Bench) -> None:
        assert await bench.run("wide", count=600) == 600_000

    virtually([wide, measures], body, table=table, cached=cached)


@workflow
async def ticks(seconds: int) -> str:
    async def tick() -> None:
        for _ in range(seconds):
            await sleep(1)

    both = await asyncio.gather(tick(), long(1))
    return str(both[1])


@everywhere
def test_a_run_that_often_wakes_still_looks_after_its_tasks(
    table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A task whose message was lost is begun within seconds, though its run wakes each second."""
    lost: list[Invocation] = []

    async def body(bench: Bench) -> None:
        dispatcher = bench.engine.services.dispatcher
        monkeypatch.setattr(type(dispatcher), "local", False)
        send = dispatcher.dispatch

        async def lose_the_first(invocations: Sequence[Invocation]) -> None:
            kept = [each for each in invocations if not each.key or lost]
            lost.extend(each for each in invocations if each not in kept)
            await send(kept)

        monkeypatch.setattr(dispatcher, "dispatch", lose_the_first)
        header = await bench.start("ticks", seconds=60)
        await asyncio.sleep(10)
        assert len(lost) == 1
        assert calls == ["begun"]
        assert await bench.result(header.run) == "done"

    virtually([ticks, long], body, table=table)

"""Every attempt at a step is on record, whichever way it ended; a step that works costs nothing."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake import TaskError, sleep, step, task_context, workflow
from rewake.engine.engine import Engine
from rewake.errors import StoreError
from rewake.stores.operations import MOST_TRIES
from rewake.views.timeline import OperationView, timeline
from tests.support.counting import CountingTable
from tests.support.emptied import emptied
from tests.support.virtual import TABLES, Bench, virtually

everywhere = pytest.mark.parametrize("table", TABLES)
warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
numbers: list[int] = []
_emptied = emptied(numbers)


async def flaky() -> str:
    numbers.append(task_context().attempt)
    task_context().logger.info("attempt %d", numbers[-1])
    await asyncio.sleep(2)
    if len(numbers) < 3:
        raise ConnectionError(f"no answer to {numbers[-1]}")
    return "sent"


@workflow
async def sends(retries: int = 2) -> str:
    return await step("mail", flaky, retries=retries, delay=60, jitter=0, multiplier=1)


async def long() -> str:
    numbers.append(task_context().attempt)
    task_context().logger.info("attempt %d", numbers[-1])
    await asyncio.sleep(30)
    return "done"


@workflow
async def patient(before: float = 0, once: bool = False) -> str:
    if before:
        await sleep(before)
    try:
        return await step("long", long, at_most_once=once)
    except TaskError as error:
        return error.type


@workflow
async def races() -> str:
    try:
        async with asyncio.timeout(5):
            return await step("long", long)
    except TimeoutError:
        return "late"


@workflow
async def many(n: int) -> int:
    for _ in range(n):
        await step("charge", lambda: 7)
    return n


async def shown(engine: Engine, run: str, key: str) -> OperationView:
    _, history = await engine.history(run)
    _, operations = timeline(history, running=engine.running_steps(run))
    return next(operation for operation in operations if operation.key == key)


def facts(operation: OperationView) -> list[tuple[Any, ...]]:
    """Number, process, error, and whether it was lost, of attempts that are over."""
    assert all(each.began and each.ended for each in operation.tries)
    return [
        (each.attempt, each.where, each.error and each.error.type, each.lost)
        for each in operation.tries
    ]


async def said(engine: Engine, run: str, key: str) -> dict[int, list[str]]:
    return {b.attempt: [line.message for line in b.lines] for b in await engine.logs(run, key)}


def dies(bench: Bench) -> None:
    """Kill the process that the engine stands for; the bench goes on with another."""

    class Gone:
        def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
            async def never(*_: object, **__: object) -> None:
                await asyncio.Future[None]()

            return never

    dead, bench.engine = bench.engine, bench.another()
    dead.services.store._table = Gone()  # type: ignore[assignment]
    bench.engine.open()


@everywhere
def test_a_step_that_works_is_four_entries_and_one_try(table: str) -> None:
    """Started, scheduled, stepped, finished, as ever; when, where and that it worked is known."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        assert await bench.result(header.run) == "done"
        _, history = await bench.engine.history(header.run)
        entries, [operation] = timeline(history)
        assert [each["type"] for each in entries] == [
            "started",
            "scheduled",
            "stepped",
            "finished",
        ]
        assert (operation.state, operation.attempts, operation.lost) == ("done", 1, 0)
        assert facts(operation) == [(1, "here:1", None, False)]
        assert history.operations == {}

    virtually([patient, long], body, table=table, where="here:1")


def test_a_step_that_works_costs_no_write_for_its_record() -> None:
    """A hundred steps take a commit each, and a chunk of history for every four, as ever.

    Beside these the start of a run takes its view and, once a day, the day; its end is due for its
    removal.
    """
    table = CountingTable()

    async def body(bench: Bench) -> None:
        assert await bench.run("many", n=100) == 100

    virtually([many], body, table=table)
    assert table.units <= 131


@everywhere
@warm_and_cold
def test_each_failed_attempt_at_a_step_is_kept(table: str, cached: int) -> None:
    """Two fail and one works: three tries with times, process and errors; three logs."""

    async def body(bench: Bench) -> None:
        header = await bench.start("sends")
        assert await bench.result(header.run) == "sent"
        operation = await shown(bench.engine, header.run, "mail")
        assert (operation.attempts, operation.lost, operation.state) == (3, 0, "done")
        failed, worked = "ConnectionError", None
        assert facts(operation) == [
            (n, "h:1", e, False) for n, e in enumerate([failed, failed, worked], 1)
        ]
        first, second, third = operation.tries
        assert first.error is not None
        assert first.error.message == "no answer to 1"
        assert "Traceback" in first.error.traceback
        assert first.began < first.ended < second.began < second.ended < third.began  # type: ignore[operator]
        assert await said(bench.engine, header.run, "mail") == {
            n: [f"attempt {n}"] for n in (1, 2, 3)
        }

    virtually([sends], body, table=table, cached=cached, where="h:1")


@everywhere
def test_an_attempt_that_was_lost_with_its_process_is_kept(
    table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it ran, and until when; the next has the next number, and a log of its own."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        await asyncio.sleep(5)
        dies(bench)
        assert await bench.result(header.run) == "done"
        operation = await shown(bench.engine, header.run, "long")
        assert numbers == [1, 2]
        assert (operation.attempts, operation.lost, operation.state) == (2, 1, "done")
        assert facts(operation) == [(1, "h:1", None, True), (2, "h:1", None, False)]
        lost, worked = operation.tries
        assert lost.ended < worked.began  # type: ignore[operator]
        [told] = [r for r in caplog.records if "was lost" in r.message]
        assert told.message.startswith(f"attempt 1 at long of run {header.run} was lost")
        about = (told.__dict__["run"], told.__dict__["key"], told.__dict__["attempt"])
        assert (told.levelname, *about) == ("WARNING", header.run, "long", 1)
        # What it said in its first second is there, although its process could not say good-bye.
        assert await said(bench.engine, header.run, "long") == {1: ["attempt 1"], 2: ["attempt 2"]}

    virtually([patient], body, table=table, where="h:1")


@everywhere
@warm_and_cold
def test_processes_that_die_one_after_another_each_have_a_number(table: str, cached: int) -> None:
    """Also where the step began long after the run, in a turn of its own."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient", before=60)
        await asyncio.sleep(65)
        dies(bench)
        await asyncio.sleep(15)
        dies(bench)
        assert await bench.result(header.run) == "done"
        assert numbers == [1, 2, 3]
        operation = await shown(bench.engine, header.run, "long")
        assert (operation.attempts, operation.lost) == (3, 2)
        assert [lost for _, _, _, lost in facts(operation)] == [True, True, False]

    virtually([patient], body, table=table, cached=cached, where="h:1")


@everywhere
def test_an_attempt_that_waits_for_its_retry_was_not_lost(table: str) -> None:
    """A process that dies during the backoff of a step takes nothing with it."""

    async def body(bench: Bench) -> None:
        header = await bench.start("sends")
        await asyncio.sleep(10)
        dies(bench)
        assert await bench.result(header.run) == "sent"
        operation = await shown(bench.engine, header.run, "mail")
        assert (numbers, operation.attempts, operation.lost) == ([1, 2, 3], 3, 0)

    virtually([sends], body, table=table)


@everywhere
def test_an_attempt_that_was_lost_under_a_clock_that_was_ahead_keeps_its_number(table: str) -> None:
    """By the clock that was set right its turn ended before its time: it had begun all the same."""

    async def body(bench: Bench) -> None:
        clock: Any = bench.engine.services.clock
        told = type(clock).now
        clock.now = lambda: told(clock) + 3_600_000
        header = await bench.start("sends")
        await asyncio.sleep(63)  # the second attempt is under way
        dies(bench)
        assert await bench.result(header.run) == "sent"
        assert numbers == [1, 2, 3]
        operation = await shown(bench.engine, header.run, "mail")
        assert [each.lost for each in operation.tries] == [False, True, False]

    virtually([sends], body, table=table)


@everywhere
def test_a_lost_attempt_uses_up_no_retry(table: str) -> None:
    """One is lost and two fail with two retries: the fourth works."""

    async def body(bench: Bench) -> None:
        header = await bench.start("sends")
        await asyncio.sleep(1.5)
        dies(bench)
        assert await bench.result(header.run) == "sent"
        operation = await shown(bench.engine, header.run, "mail")
        assert numbers == [1, 2, 3]
        assert [each.error and each.error.message for each in operation.tries] == [
            None,
            "no answer to 2",
            None,
        ]
        assert [each.lost for each in operation.tries] == [True, False, False]

    virtually([sends], body, table=table)


@warm_and_cold
def test_the_log_of_a_step_that_a_close_interrupted_is_kept(cached: int) -> None:
    """What it said is stored before the run is released; its number is not given back."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        await asyncio.sleep(0.5)  # sooner than what it says is stored by itself
        await bench.engine.close(grace=0)
        bench.engine = bench.another()
        bench.engine.open()
        assert await bench.result(header.run) == "done"
        assert await said(bench.engine, header.run, "long") == {1: ["attempt 1"], 2: ["attempt 2"]}
        operation = await shown(bench.engine, header.run, "long")
        assert facts(operation) == [(1, "h:1", None, False), (2, "h:1", None, False)]
        assert (operation.attempts, operation.lost) == (1, 0)

    virtually([patient], body, cached=cached, where="h:1")


def test_an_attempt_that_was_interrupted_elsewhere_keeps_its_number() -> None:
    """A process whose suspended instance is behind reads the numbers that another has given."""

    async def body(bench: Bench) -> None:
        first, second = bench.share_messages(2)
        header = await bench.start("patient", before=60)
        await asyncio.sleep(1)
        at = await first.get(header.run)
        one, other = (first, second) if first.services.cache.at(at) else (second, first)
        bench.engine, bench.takers = one, itertools.cycle([other])
        await asyncio.sleep(70)
        assert numbers == [1]
        bench.takers = itertools.cycle([one])
        await other.close(grace=0)
        assert await bench.result(header.run) == "done"
        assert numbers == [1, 2]
        operation = await shown(one, header.run, "long")
        assert [each.attempt for each in operation.tries] == [1, 2]

    virtually([patient], body)


def test_a_close_while_no_step_runs_counts_nothing() -> None:
    """Processes come and go under a run that sleeps: its step still begins as the first."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient", before=60)
        for _ in range(3):
            await asyncio.sleep(5)
            await bench.engine.close(grace=0)
            bench.engine = bench.another()
            bench.engine.open()
        await bench.result(header.run)
        assert numbers == [1]

    virtually([patient], body)


def test_a_step_that_runs_at_most_once_and_was_interrupted_is_one_lost_try() -> None:
    """The workflow is told that it is lost, and so is who looks."""

    async def body(bench: Bench) -> None:
        for kill in (True, False):
            header = await bench.start("patient", once=True)
            await asyncio.sleep(5)
            if kill:
                dies(bench)
            else:
                await bench.engine.close(grace=0)
                bench.engine = bench.another()
                bench.engine.open()
            assert await bench.result(header.run) == "lost"
            operation = await shown(bench.engine, header.run, "long")
            assert (operation.state, operation.attempts, operation.lost) == ("failed", 1, 1)
            assert facts(operation) == [(1, "h:1", None, True)]

    virtually([patient], body, where="h:1")


def test_an_attempt_that_the_workflow_withdrew_is_kept() -> None:
    """The loser of a race with time says when it began, and when it was stopped."""

    async def body(bench: Bench) -> None:
        header = await bench.start("races")
        assert await bench.result(header.run) == "late"
        operation = await shown(bench.engine, header.run, "long")
        assert (operation.state, operation.attempts, operation.lost) == ("withdrawn", 1, 0)
        assert facts(operation) == [(1, "h:1", None, False)]
        assert await said(bench.engine, header.run, "long") == {1: ["attempt 1"]}

    virtually([races], body, where="h:1")


@everywhere
def test_an_attempt_whose_result_could_not_be_kept_is_no_number_lost(table: str) -> None:
    """The store failed for good under a living process: that is no loss, and the log stays."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        await asyncio.sleep(29)
        store: Any = bench.engine.services.store
        real, until = store._table, bench.seconds + 20

        class Sick:
            def __getattr__(self, name: str) -> Any:
                if bench.seconds >= until:
                    return getattr(real, name)

                async def fails(*_: object, **__: object) -> None:
                    raise StoreError("it is sick")

                return fails

        store._table = Sick()
        await asyncio.sleep(25)
        assert await bench.result(header.run) == "done"
        assert numbers == [1, 2]
        operation = await shown(bench.engine, header.run, "long")
        assert [attempt for attempt, *_ in facts(operation)] == [1, 2]
        assert await said(bench.engine, header.run, "long") == {1: ["attempt 1"], 2: ["attempt 2"]}

    virtually([patient], body, table=table)


def test_an_attempt_at_a_step_that_goes_on_is_shown() -> None:
    """Who looks at a run while its first step runs sees that, although no commit has it yet."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        await asyncio.sleep(5)
        operation = await shown(bench.engine, header.run, "long")
        assert (operation.state, operation.name, operation.attempts) == ("running", "long", 1)
        [attempt] = operation.tries
        assert (attempt.attempt, attempt.where, attempt.ended) == (1, "h:1", None)
        dies(bench)
        await asyncio.sleep(10)
        operation = await shown(bench.engine, header.run, "long")
        assert (operation.state, operation.attempts, operation.lost) == ("running", 2, 1)
        assert [(each.attempt, each.lost) for each in operation.tries] == [(1, True), (2, False)]

    virtually([patient], body, where="h:1")


def test_tries_of_a_step_are_bounded() -> None:
    """Of many attempts the newest are shown; `attempts` counts them all."""

    async def body(bench: Bench) -> None:
        header = await bench.start("sends", retries=20)
        await bench.result(header.run)
        operation = await shown(bench.engine, header.run, "mail")
        assert operation.attempts == 15
        assert [t.attempt for t in operation.tries] == [*range(15 - MOST_TRIES, 16)]

    async def often() -> str:
        numbers.append(task_context().attempt)
        if numbers[-1] < 15:
            raise ConnectionError
        return "sent"

    @workflow(name="sends")
    async def sends_often(retries: int) -> str:
        return await step("mail", often, retries=retries, delay=1, jitter=0, multiplier=1)

    virtually([sends_often], body)


def test_an_attempt_that_blocked_its_process_says_so() -> None:
    """The next process, which takes the run, counts it as lost, with why."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient")
        await asyncio.sleep(5)
        services, other = bench.engine.services, bench.another()
        other.open()
        owner, now = services.turns[header.run].owner, services.clock.now()
        await services.store.lose(header.run, owner, now, "blocked: it spins at app.py:7")
        assert await bench.result(header.run) == "done"
        operation = await shown(bench.engine, header.run, "long")
        lost, _ = operation.tries
        assert lost.error is not None
        assert (lost.error.type, lost.error.message, lost.lost) == (
            "blocked",
            "it spins at app.py:7",
            True,
        )
        await other.close()

    virtually([patient], body)


def test_an_attempt_that_goes_on_in_another_process_is_shown() -> None:
    """Whoever is asked knows from the run who carries it on, if not since when."""

    async def body(bench: Bench) -> None:
        header = await bench.start("patient", before=2)
        await asyncio.sleep(5)
        other = bench.another()
        header, history = await other.history(header.run)
        assert await other.held_elsewhere(header) == "h:1"
        assert await bench.engine.held_elsewhere(header) == ""
        _, operations = timeline(history, elsewhere="h:1")
        long = next(each for each in operations if each.key == "long")
        assert long.state == "running"
        [attempt] = long.tries
        assert (attempt.attempt, attempt.began, attempt.ended, attempt.where) == (
            1,
            None,
            None,
            "h:1",
        )

    virtually([patient], body, where="h:1")

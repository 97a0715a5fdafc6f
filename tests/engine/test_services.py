"""What the parts of an engine share: who is told, who claims, and what is never in the way."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any

import pytest

from rewake import workflow
from rewake.authoring.context import TaskContext
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.process.heart import Hold
from rewake.engine.services import TurnHere
from rewake.kinds import OutcomeKind
from rewake.records import Invocation, Outcome
from rewake.testing.clock import EPOCH
from tests.support.virtual import TABLES, Bench, virtually

OK = Outcome(OutcomeKind.OK)


@workflow
async def idle() -> None:
    pass


def test_only_the_turn_of_a_run_is_told_of_its_arrivals() -> None:
    """A poke reaches the run's own turn, and does nothing where this process has none."""

    async def body(bench: Bench) -> None:
        services, told = bench.engine.services, list[str]()
        for run in ("r1", "r2"):
            services.turns[run] = TurnHere("me", partial(told.append, run), {})
        for run in ("r1", "elsewhere"):
            services.poke(run)
        assert told == ["r1"]

    virtually([idle], body)


def test_who_waits_for_an_end_is_told_once() -> None:
    """Each waits for its own run; one that has gone away meanwhile is in nobody's way."""

    async def body(bench: Bench) -> None:
        services, loop = bench.engine.services, asyncio.get_running_loop()
        waits, gone, other = (loop.create_future() for _ in range(3))
        services.waiters.update(r1={waits, gone}, r2={other})
        gone.cancel()
        services.ended("r1", OK)
        services.ended("r1")
        assert waits.result() is OK
        assert not other.done()
        assert list(services.waiters) == ["r2"]

    virtually([idle], body)


def test_a_process_never_takes_a_run_from_itself() -> None:
    """A claim takes over from a process that died; this one has a turn of the run, so it lives."""

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        before = services.run_claim("r1")
        services.turns["r1"] = TurnHere("me", lambda: None, {})
        during, other = services.run_claim("r1"), services.run_claim("r2")
        assert [each.takes_over for each in (before, during, other)] == [True, False, True]

    virtually([idle], body)


def test_no_two_claims_have_one_name() -> None:
    """A claim is from now, for a lease, by a name that no other has, of a run or of a task."""

    async def body(bench: Bench) -> None:
        await asyncio.sleep(2)
        services, again = bench.engine.services, bench.another().services
        claims = [
            each
            for made in (services, again)
            for each in (
                made.run_claim("r1"),
                made.run_claim("r1"),
                made.task_claim("r1", Invocation("r1", "k", "n")),
            )
        ]
        assert len({each.owner for each in claims}) == len(claims)
        assert {(each.now, each.lease) for each in claims} == {(EPOCH + 2_000, 7_000)}

    virtually([idle], body, lease=7_000)


def test_what_is_begun_here_is_what_comes_back_here() -> None:
    """Where messages go to any process, none is claimed with the commit that asks for it."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        assert services.begins("")
        assert not services.begins("gpu")
        services.dispatcher.local = False
        assert not services.begins("")

    virtually([idle], body, tasks=3)


@pytest.mark.parametrize("table", TABLES)
def test_what_an_attempt_logged_is_kept_with_it(table: str) -> None:
    """All of it, under its own number, in the order in which it was said."""

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("idle")).run
        for number in (1, 2):
            logs = AttemptLog(services.clock)
            for line in (f"one of {number}", f"two of {number}"):
                logs.log("INFO", line)
            await services.logs.end(TaskContext(run, "work", number, logs), logs)
        kept = await bench.engine.logs(run, "work")
        assert [(each.attempt, [line.message for line in each.lines]) for each in kept] == [
            (1, ["one of 1", "two of 1"]),
            (2, ["one of 2", "two of 2"]),
        ]

    virtually([idle], body, table=table)


def test_no_attempt_fails_for_its_log(caplog: pytest.LogCaptureFixture) -> None:
    """What could not be kept is a warning, whatever the error was."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services

        async def broken(*_: object) -> None:
            raise ZeroDivisionError

        services.store.streams.put = broken
        logs = AttemptLog(services.clock)
        logs.log("INFO", "said")
        await services.logs.end(TaskContext("r1", "work", 1, logs), logs)

    with caplog.at_level(logging.WARNING, "rewake.engine"):
        virtually([idle], body)
    assert [each.getMessage() for each in caplog.records] == ["what work logged could not be kept"]


def test_a_turn_that_another_holder_overtook_is_told_before_a_new_one_begins() -> None:
    """Its claim is looked at once: what was not kept ends here, not with the next beat."""

    async def body(bench: Bench) -> None:
        services, told = bench.engine.services, list[str]()

        async def not_kept(*_: object) -> bool:
            told.append("asked")
            return False

        services.turns["r1"] = TurnHere("old", lambda: None, {})
        hold = Hold("old", EPOCH, not_kept, not_kept, lambda: told.append("overtaken"))
        with services.heart.holding(hold):
            await services.end_overtaken_turn("r2")
            assert told == []
            await services.end_overtaken_turn("r1")
        assert told == ["asked", "overtaken"]
        assert bench.seconds == 0

    virtually([idle], body)


def test_a_call_home_is_made_in_the_loop_of_the_engine() -> None:
    """From another thread, while the engine is open; nobody is at home after it closed."""

    async def body(bench: Bench) -> None:
        services, came = bench.engine.services, asyncio.Event()
        await asyncio.to_thread(services.call_home, came.set)
        await asyncio.wait_for(came.wait(), 1)
        closed, calls = bench.another().services, list[str]()
        closed.call_home(lambda: calls.append("called"))
        await asyncio.sleep(1)
        assert calls == []

    virtually([idle], body)


def test_a_run_is_woken_by_a_message_of_its_own() -> None:
    """The message names the run and no operation: the stored state decides what there is to do."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        sent: list[Invocation] = []

        async def dispatch(invocations: list[Invocation]) -> None:
            sent.extend(invocations)

        services.dispatcher.dispatch = dispatch
        await services.wake("r1")
        assert sent == [Invocation("r1")]

    virtually([idle], body)

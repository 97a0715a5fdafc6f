"""What is done before a commit, and what only after it."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from rewake import sleep, task, workflow
from rewake.engine.turns.commits import Commits, Overtaken
from rewake.engine.turns.fresh import dispatched, must_commit
from rewake.engine.turns.instance import Instance
from rewake.engine.turns.steps import Steps
from rewake.kinds import Kind, OutcomeKind
from rewake.records import (
    Completed,
    Entry,
    Fired,
    Header,
    Logged,
    Outcome,
    Scheduled,
    Stepped,
    Withdrawn,
)
from rewake.replay.operation import OpenOp
from rewake.states import RunState
from rewake.stores.answers import RunClaim
from rewake.streamed import LogLine
from tests.support.stores import take_over
from tests.support.virtual import TABLES, Bench, virtually

TASK = Scheduled("t", Kind.TASK, "t", "")
STEP = Scheduled("s", Kind.STEP, "s", "")
LINES = Logged([LogLine(0, "INFO", "said")])


def op(*, at_most_once: bool = False) -> OpenOp:
    found = OpenOp("s", Kind.STEP, "s", "", None)
    found.work = SimpleNamespace(at_most_once=at_most_once)
    return found


@pytest.mark.parametrize(
    ("fresh", "once", "commits"),
    [
        ([], False, False),
        ([STEP], False, False),
        ([STEP, LINES], False, False),
        ([STEP, TASK], False, True),
        ([Fired("timer", 1), STEP], False, True),
        ([Completed("t", 1), STEP], False, True),
        ([Stepped("s", 1, Outcome(OutcomeKind.OK)), STEP], False, True),
        ([STEP], True, True),
        ([], True, False),
    ],
)
def test_what_led_to_a_step_is_durable_before_it_begins(
    fresh: list[Entry], once: bool, commits: bool
) -> None:
    """A step alone costs one commit, after it; one that runs at most once costs two."""
    assert must_commit(fresh, [op(at_most_once=once)]) is commits


def test_what_is_withdrawn_in_the_same_commit_is_not_dispatched() -> None:
    """Nor what no invocation carries out."""
    other = Scheduled("o", Kind.TASK, "o", "")
    timer = Scheduled("x", Kind.TIMER, "sleep", "", due=1)
    entries: list[Entry] = [TASK, other, STEP, timer, Withdrawn("t", Kind.TASK)]
    assert dispatched(entries) == [other]


@task
async def works() -> str:
    return "worked"


@workflow
async def delegates() -> str:
    await sleep(1)
    return await works()


@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_dispatched_before_the_commit_that_asks_for_it(table: str) -> None:
    """Whatever a message names, the stored history asks for it already."""

    async def body(bench: Bench) -> None:
        services: Any = bench.engine.services
        dispatch, seen = services.dispatcher.dispatch, list[str]()

        async def checked(invocations: Any) -> None:
            for each in invocations:
                if each.key:
                    _, history = await bench.engine.history(each.run)
                    assert each.key in [e.key for e in history.dispatched()]
                    seen.append(each.key)
            await dispatch(invocations)

        services.dispatcher.dispatch = checked
        services.dispatcher.local = False
        assert await bench.run("delegates") == "worked"
        assert seen == ["works"]

    virtually([delegates, works], body, table=table)


@pytest.mark.parametrize("table", TABLES)
def test_a_turn_that_was_overtaken_commits_nothing(table: str) -> None:
    """Another claim has raised the epoch: the commit is refused, and nothing is dispatched."""

    async def body(bench: Bench) -> None:
        services = bench.engine.services
        run = (await bench.start("delegates")).run
        await asyncio.sleep(0.5)
        now = services.clock.now()
        held = await services.store.claim(run, RunClaim("first", now, 100))
        assert isinstance(held, Header)
        await take_over(services.store, run, RunClaim("second", now + 1000, 5000))
        instance = Instance(services)
        execution = await instance.take(held)
        steps = Steps(services, run, asyncio.Event())
        commits = Commits(services, held, steps, instance)
        for end in (commits.stay(execution), commits.park(execution, 10**15)):
            with pytest.raises(Overtaken):
                await end
        instance.drop()
        header = await bench.engine.get(run)
        assert (header.state, header.owner) == (RunState.RUNNING, "second")
        await services.store.release(run, "second", services.clock.now())
        assert await bench.result(run) == "worked"

    virtually([delegates, works], body, table=table)

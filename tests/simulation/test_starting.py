"""Starts by one key that meet each other, or whose process or database fails in the middle."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from rewake.authoring.approval import Approval, Decision
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.starts.starting import IfFinished, IfRunning, name_of_key
from rewake.errors import RunConflict, StoreError
from rewake.records import Header
from rewake.states import RunState
from tests.simulation.directed import GRACE, LEASE, Stage, both, directed, play
from tests.simulation.faults import BEFORE, CRASH_AFTER, CRASH_BEFORE, TOLD_FAILED

WAITS = ["approve", "never-a", None]
AT_ONCE = ["task", "work", "n1", {}]
NAME = name_of_key("main", "k")
FIRST, SECOND, THIRD = (NAME.generation(number) for number in (1, 2, 3))

Started = tuple[Header, bool]


def restart(
    program: list[Any], if_running: IfRunning = IfRunning.ATTACH
) -> Callable[[Engine], Awaitable[Started]]:
    """A start that begins anew where the newest run of the key has ended."""
    return lambda engine: engine.start(
        "main",
        {"program": program},
        idempotency_key="k",
        if_running=if_running,
        if_finished=IfFinished.RESTART,
    )


def runs(stage: Stage) -> set[str]:
    """The runs that there are."""
    return set(stage.world.watch.runs)


def over(stage: Stage, run: str) -> Callable[[], bool]:
    """Whether this run has ended."""
    return lambda: run in runs(stage) and stage.world.watch.runs[run].over


async def approve(stage: Stage, run: str) -> None:
    """Let a run that waits go on to its end."""
    asked = stage.world.watch.runs[run]
    await stage.within(GRACE + LEASE, lambda: asked.header.state is RunState.PARKED, "its wait")
    live = stage.world.alive()[0]
    await stage.ask(
        live, lambda e: Approvals(e).decide(run, "never-a", Approval(Decision.APPROVED))
    )
    await stage.within(GRACE + LEASE, over(stage, run), "its end")


async def ended_once(stage: Stage) -> None:
    """The first generation is there, and over."""
    header, new = await stage.ask(stage.p1, restart(WAITS))
    assert (header.run, new) == (FIRST, True)
    await approve(stage, FIRST)


# --- two at once -------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("if_running", IfRunning)
def test_of_two_restarts_that_saw_the_same_end_one_begins(
    store: str, if_running: IfRunning
) -> None:
    """Both saw generation 1 ended; one creates generation 2, the other does as told about it."""

    async def script(stage: Stage) -> None:
        await ended_once(stage)
        gates = [stage.hold(replica, "standing", after=True) for replica in (stage.p1, stage.p2)]
        quick = asyncio.ensure_future(stage.ask(stage.p1, restart(WAITS)))
        slow = asyncio.ensure_future(stage.ask(stage.p2, restart(WAITS, if_running)))
        for gate in gates:
            await gate.reached.wait()
        gates[0].release()
        begun, new = await quick
        assert (begun.run, new) == (SECOND, True)
        gates[1].release()
        if if_running is IfRunning.ATTACH:
            met, new = await slow
            assert (met.run, new) == (SECOND, False)
        else:
            with pytest.raises(RunConflict) as refused:
                await slow
            assert refused.value.run == SECOND
        await approve(stage, SECOND)
        assert runs(stage) == {FIRST, SECOND}

    play(store, script)


@directed
async def test_starts_that_run_into_each_other_begin_one_run(stage: Stage) -> None:
    """Eight at once in two processes, of a fresh key and then of an ended one: one is new."""
    for run in (FIRST, SECOND):
        starts = [stage.ask(replica, restart(WAITS)) for replica in (stage.p1, stage.p2) * 4]
        found = await asyncio.gather(*starts)
        assert {header.run for header, _ in found} == {run}
        assert [new for _, new in found].count(True) == 1
        await approve(stage, run)
    assert runs(stage) == {FIRST, SECOND}


@directed
async def test_a_restart_that_comes_after_another_one_begins_after_it(stage: Stage) -> None:
    """It saw generation 1 ended, and stood still until generation 2 had ended too: it is third."""
    await ended_once(stage)
    gate = stage.hold(stage.p2, "standing", after=True)
    slow = asyncio.ensure_future(stage.ask(stage.p2, restart(WAITS)))
    await gate.reached.wait()
    await stage.ask(stage.p1, restart(WAITS))
    await approve(stage, SECOND)
    gate.release()
    header, new = await slow
    assert (header.run, new) == (THIRD, True)


@directed
async def test_an_attaching_start_is_given_the_newest_of_its_time(stage: Stage) -> None:
    """It saw generation 1 ended, and before it looks further generation 2 comes: it is given 2."""
    await ended_once(stage)
    gate = stage.hold(stage.p2, "standing")

    async def attach(engine: Engine) -> Started:
        return await engine.start("main", {"program": WAITS}, idempotency_key="k")

    slow = asyncio.ensure_future(stage.ask(stage.p2, attach))
    await gate.reached.wait()
    await stage.ask(stage.p1, restart(WAITS))
    gate.release()
    header, new = await slow
    assert (header.run, new) == (SECOND, False)
    header, new = await stage.ask(stage.p1, attach)
    assert (header.run, new) == (SECOND, False)


# --- what fails in the middle ------------------------------------------------------------------


@both
@pytest.mark.parametrize("fault", [BEFORE, TOLD_FAILED, CRASH_BEFORE, CRASH_AFTER])
@pytest.mark.parametrize(
    ("call", "letter", "nth"),
    [("put", "9", 0), ("put", "H", 0), ("get", "H", 0), ("put", "9", 1), ("put", "H", 1)],
    ids=["view of 1", "header of 1", "look at 2", "view of 2", "header of 2"],
)
def test_a_restart_that_fails_anywhere_is_one_restart(
    store: str, call: str, letter: str, nth: int, fault: str
) -> None:
    """Whatever goes wrong at whichever call, asking again comes to generation 2, and it ends."""

    async def script(stage: Stage) -> None:
        await ended_once(stage)
        planned = [(call, letter, "")] * nth + [(call, letter, fault)]
        stage.fault(stage.p2, "start", *planned)
        await _insist(stage)
        assert stage.chaos.fired[call, fault] == 1
        header, new = await stage.ask(stage.p1, restart(WAITS))
        assert (header.run, new) == (SECOND, False)
        await approve(stage, SECOND)
        assert runs(stage) == {FIRST, SECOND}
        headers, _ = await stage.ask(stage.p1, lambda engine: engine.list())
        assert [header.run for header in headers] == [SECOND, FIRST]

    play(store, script)


@pytest.mark.parametrize("fault", [BEFORE, TOLD_FAILED, CRASH_BEFORE, CRASH_AFTER])
@pytest.mark.parametrize("nth", [0, 1], ids=["of 1", "of 2"])
def test_a_transaction_of_a_restart_that_fails_is_one_restart(nth: int, fault: str) -> None:
    """The same where each of the two starts is one transaction."""

    async def script(stage: Stage) -> None:
        await ended_once(stage)
        stage.chaos.asked = [("together", "", "")] * nth + [("together", "", fault)]
        await _insist(stage)
        assert stage.chaos.fired["together", fault] == 1
        await approve(stage, SECOND)
        assert runs(stage) == {FIRST, SECOND}

    play("sqlite", script)


async def _insist(stage: Stage) -> None:
    """Ask p2 to restart, and p1 if p2 dies or says that it failed, as a caller would."""
    asked = asyncio.ensure_future(stage.ask(stage.p2, restart(WAITS)))
    waits: list[asyncio.Future[Any]] = [asked, stage.p2.death]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    again = not asked.done() or isinstance(asked.exception(), StoreError)
    header, new = await (stage.ask(stage.p1, restart(WAITS)) if again else asked)
    assert header.run == SECOND
    assert new or again


@pytest.mark.parametrize("before", [0, 1], ids=["fresh", "ended"])
def test_one_start_never_makes_two_runs(before: int) -> None:
    """Its write was denied; until it asks again its run has ended: that is no reason to restart."""

    async def script(stage: Stage) -> None:
        if before:
            await ended_once(stage)
        run = NAME.generation(before + 1)
        gate, writes = asyncio.Event(), itertools.count()

        async def stands_still(call: str, letter: str) -> None:
            if (call, letter) == ("put", "H") and next(writes) > before:
                await gate.wait()

        stage.chaos.asked = [("put", "H", "")] * before + [("put", "H", TOLD_FAILED)]
        stage.p2.table.gate = stands_still
        asked = asyncio.ensure_future(stage.ask(stage.p2, restart(AT_ONCE)))
        await stage.within(GRACE + LEASE, over(stage, run), "the end")
        gate.set()
        header, new = await asked
        assert (header.run, header.state, new) == (run, RunState.DONE, True)
        assert runs(stage) == {NAME.generation(number + 1) for number in range(before + 1)}
        assert stage.world.begun[run, "work"] == 1

    play("memory", script)

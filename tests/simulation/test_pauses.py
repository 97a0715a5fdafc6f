"""Processes that stand still in part: what they hold stays theirs as long as their heart beats."""

from __future__ import annotations

import asyncio

import pytest

from rewake.engine.settings import Settings
from tests.simulation.case import Case
from tests.simulation.directed import GRACE, LEASE, Stage, both, play
from tests.simulation.faults import calm
from tests.simulation.mutants import takes_its_own_for_dead
from tests.simulation.simulate import simulate
from tests.simulation.tally import STORES

LONG = ["gather", False, ["task", "work", "n1", {"ms": 20_000}], ["step", "s1", {"ms": 20_000}]]
WORK, STEP = "run[0]/work", "run[1]/s1"


def begun(stage: Stage) -> tuple[int, int]:
    """How often the task and the step began."""
    return stage.begun(WORK), stage.begun(STEP)


@both
def test_a_loop_that_stands_still_keeps_what_it_holds(store: str) -> None:
    """For longer than two leases nothing of it runs but its heart: nobody takes anything over."""

    async def script(stage: Stage) -> None:
        await stage.start(LONG)
        await stage.within(1, lambda: begun(stage) == (1, 1), "beginning")
        owner, task = stage.header.owner, stage.operation(WORK)
        stage.chaos.stalls = 12.0
        stage.p1.pause_loop()
        await asyncio.sleep(11)
        assert stage.header.owner == owner
        assert stage.world.watch.is_held(stage.header)
        held = stage.operation(WORK)
        assert task is not None
        assert held is not None
        assert (held.owner, held.lost) == (task.owner, 0)
        await stage.within(15, stage.is_over, "the end")
        assert begun(stage) == (1, 1)
        assert await stage.result() == [["n1", None], ["s1", None]]

    play(store, script)


@both
def test_a_heart_that_stands_still_loses_what_its_process_holds(store: str) -> None:
    """The same with the heart alone: others take over, which is what a lease is for."""

    async def script(stage: Stage) -> None:
        await stage.start(LONG)
        await stage.within(1, lambda: begun(stage) == (1, 1), "beginning")
        owner = stage.header.owner
        stage.chaos.stalls = 30.0
        stage.world.favourite = stage.p2
        stage.p1.pause_heart()
        stage.hold(stage.p1, "due", always=True)  # else its sweeper would renew what is late
        await stage.within(LEASE + GRACE, lambda: stage.header.owner not in (owner, ""), "a loss")

    play(store, script, settings=Settings(strikes=1000, lost=1000))


@both
def test_who_alone_cannot_reach_the_store_costs_no_run(store: str) -> None:
    """For minutes its calls fail; the other process carries on, and nothing is blamed."""

    async def script(stage: Stage) -> None:
        await stage.start(LONG)
        await stage.within(1, lambda: begun(stage) == (1, 1), "beginning")
        stage.world.favourite = stage.p2
        stage.p1.refuse()
        await stage.within(LEASE + GRACE + 25, stage.is_over, "the end")
        assert stage.header.strikes == 0
        assert stage.p1.is_refused
        stage.p1.refused_until = 0.0
        assert await stage.result() == [["n1", None], ["s1", None]]

    play(store, script)


@both
def test_who_hears_late_that_its_claim_was_renewed_looks_again(store: str) -> None:
    """A claim took long, so it is renewed; that takes long too, and another has it: no body begins.

    Once is not enough: what counts is how old the answer is when the body begins.
    """

    async def script(stage: Stage) -> None:
        claim = stage.hold(stage.p1, "claim_task", after=True)
        look = stage.hold(stage.p1, "renew_process", after=True, always=True)
        parked = stage.hold(stage.p2, "park", after=True)
        stage.world.favourite = stage.p2
        await stage.start(["task", "work", "n1", {"ms": 9_000}])
        await parked.reached.wait()
        stage.world.favourite = stage.p1
        parked.release()
        await claim.reached.wait()
        await asyncio.sleep(3)  # it is late, and not yet over
        stage.chaos.fired["process", "held"] += 1
        claim.release()
        await look.reached.wait()
        stage.world.favourite = stage.p2
        await stage.within(3 * LEASE, lambda: stage.begun("work") == 1, "beginning elsewhere")
        look.release()
        await stage.within(12, stage.is_over, "the end")
        assert stage.begun("work") == 1

    play(store, script, settings=Settings(tasks=1, strikes=1000, lost=1000))


@pytest.mark.parametrize("store", STORES)
def test_what_is_held_for_minutes_stays_with_its_holder(store: str) -> None:
    """It is looked at again after five minutes, and its process says then that it has it."""

    def case(seed: int) -> Case:
        task, inline = ["task", "work", "n1", {"ms": 320_000}], ["step", "s1", {"ms": 320_000}]
        program = ["gather", False, task, inline]
        right = [["n1", None], ["s1", None]]
        held = Case(seed, store, {"r1": (program, right)}, calm(seed), Settings())
        held.chaos.last = 320.0  # until when the judge waits, and a while more
        return held

    for seed in range(3):
        assert not simulate(case(seed)).broken
    with takes_its_own_for_dead():
        assert any(simulate(case(seed)).broken for seed in range(3))

"""The interleavings 1 to 8 of the store protocol, one after the other, each on both tables."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake.errors import RunConflict, StoreError
from rewake.kinds import OutcomeKind
from rewake.states import RunState
from tests.simulation.directed import (
    GRACE,
    LEASE,
    Stage,
    both,
    directed,
    is_open,
    outcome_of,
    play,
    waits_for,
)
from tests.simulation.faults import CRASH_AFTER, CRASH_BEFORE, TOLD_FAILED
from tests.simulation.programs import NEVER
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.simulate import simulate

# --- 1 -----------------------------------------------------------------------------------------


@directed
async def test_1_a_writer_that_was_overtaken_changes_nothing(stage: Stage) -> None:
    """Bodies written, writer stalls, another takes over, commits, parks; the first does nothing."""
    big = ["approve", "never-" + "x" * 700, 20]  # too large for the header: a chunk of its own
    gate = stage.hold_header(stage.p1, "park")
    await stage.start(["seq", ["task", "work", "n1", {}], big])
    await gate.reached.wait()
    stage.world.favourite = None
    stage.p1.stalled_until = 12.0
    await stage.within(LEASE + 1, lambda: stage.header.state is RunState.PARKED, "a takeover")
    before = stage.header
    assert before.epoch >= 2
    gate.release()
    lines = len(stage.world.lines)
    await asyncio.sleep(13.0 - stage.world.seconds)
    after = [line for line in stage.world.lines[lines:] if " p1 " in line]
    assert stage.header.count >= before.count
    assert not [line for line in after if "dispatch" in line], after
    await stage.within(40, stage.is_over, "the end")
    assert await stage.result() == [["n1", None], ["approval", "timed_out", None]]


@directed
async def test_1_a_writer_that_was_overtaken_is_fenced_at_the_same_count(stage: Stage) -> None:
    """The new holder has committed nothing yet, and the former one changes nothing all the same."""
    first = stage.hold(stage.p1, "park")
    await stage.start(["seq", ["task", "work", "n1", {}], ["sleep", 1000]])
    await first.reached.wait()
    stage.world.favourite = stage.p2
    stage.p1.stalled_until = 9.0
    second = stage.hold(stage.p2, "park")
    await second.reached.wait()
    before = stage.header
    first.release()
    await asyncio.sleep(9.1 - stage.world.seconds)
    assert (stage.header.count, stage.header.mark) == (before.count, before.mark)
    assert stage.header.state is RunState.RUNNING
    second.release()
    await stage.within(LEASE + GRACE, stage.is_over, "the end")


# --- 2 -----------------------------------------------------------------------------------------


@directed
async def test_2_what_arrives_between_reading_and_parking_is_seen(stage: Stage) -> None:
    """The inbox was read empty, an approval arrives, the run parks: it does not sleep."""
    approve, work = ["approve", "never-a", None], ["task", "work", "n1", {"ms": 500}]
    await stage.start(["gather", False, approve, work])
    await stage.within(1, waits_for(stage, "run[0]/never-a"))
    gate = stage.hold(stage.p1, "park")
    await gate.reached.wait()
    await stage.decide(stage.p2, "run[0]/never-a")
    gate.release()
    await stage.within(1, stage.is_over, "the end")


async def _deliverer_dies(stage: Stage, *fault: tuple[str, str, str]) -> None:
    await stage.start(["approve", "never-a", None])
    await stage.within(1, waits_for(stage, "never-a"))
    stage.fault(stage.p2, "deliver", *fault)
    await asyncio.wait(
        [asyncio.ensure_future(stage.decide(stage.p2, "never-a")), stage.p2.death],
        return_when=asyncio.FIRST_COMPLETED,
    )
    assert stage.p2.dead
    if stage.operation("never-a") is None:
        # A transaction dies as a whole: nothing was recorded, and the person tries again.
        await stage.decide(stage.p1, "never-a")
    await stage.within(GRACE + LEASE, stage.is_over, "the end")
    assert await stage.result() == ["approval", "approved", None]


@directed
async def test_2_a_deliverer_dies_between_settling_and_arriving(stage: Stage) -> None:
    """The outcome is there and nobody was told: its own due time brings it up."""
    await _deliverer_dies(stage, ("update", "H", CRASH_BEFORE))


@directed
async def test_2_a_deliverer_dies_between_arriving_and_waking(stage: Stage) -> None:
    """The run knows that something came, and nobody woke it."""
    await _deliverer_dies(stage, ("update", "H", CRASH_AFTER))


# --- 3 -----------------------------------------------------------------------------------------

PROGRAM = ["seq", ["step", "s1", {"once": True}], ["task", "work", "n1", {}], ["sleep", 1]]
RIGHT = [["s1", None], ["n1", None], True]


@both
@pytest.mark.parametrize("times", [1, 4])
@pytest.mark.parametrize("method", ["start", "claim", "commit", "park", "finish", "deliver"])
def test_3_a_success_that_was_reported_as_failure_is_a_success(
    store: str, method: str, times: int
) -> None:
    """Reported once it is recognised by its mark; for good, it is written again, or found."""
    letter = "O" if method == "deliver" else "H"
    call = "put" if method == "start" else "update"

    async def script(stage: Stage) -> None:
        stage.fault(stage.p1, method, *[(call, letter, TOLD_FAILED)] * times)
        try:
            await stage.start(PROGRAM)
        except StoreError:
            assert (method, times) == ("start", 4)
            await stage.start(PROGRAM)
        await stage.within(1 if times == 1 else LEASE + GRACE, stage.is_over, "the end")
        assert await stage.result() == RIGHT
        assert stage.begun("s1") <= 1
        # Where a transaction takes the outcome back, it is delivered again: no body is repeated.
        assert stage.begun("work") == 1
        assert stage.chaos.fired[call, TOLD_FAILED] == times

    play(store, script)


@both
def test_3_a_commit_that_was_reported_as_failure_is_taken_over(store: str) -> None:
    """It happened, its writer was told for good that it did not; another goes on from it."""

    async def script(stage: Stage) -> None:
        stage.fault(stage.p1, "park", *[("update", "H", TOLD_FAILED)] * 4)
        await stage.start(["seq", ["order", *[["task", "work", f"n{i}", {}] for i in range(3)]]])
        await stage.within(LEASE + GRACE, stage.is_over, "the end")
        assert [stage.begun(f"note[{i}]/work") for i in range(3)] == [1, 1, 1]

    play(store, script)


# --- 4 -----------------------------------------------------------------------------------------


@directed
async def test_4_an_attempt_fails_and_dies_before_its_retry_is_sent(stage: Stage) -> None:
    """The failure is recorded, and the due time of the item brings the retry."""
    await stage.start(["task", "retried", "n1", {"fails": 1}])
    gate = stage.hold(stage.p1, "retry_task", after=True)
    await gate.reached.wait()
    stage.p1.die("directed")
    await stage.within(GRACE, stage.is_over, "the end")
    assert await stage.result() == ["n1", None]
    assert stage.begun("retried") == 2


@directed
async def test_4_an_outcome_is_written_and_its_process_dies(stage: Stage) -> None:
    """The run was never told; whoever looks after it finds the outcome."""
    await stage.start(["task", "work", "n1", {}])
    stage.fault(stage.p1, "deliver", ("update", "H", CRASH_BEFORE))
    await stage.within(1, lambda: stage.p1.dead, "the crash")
    await stage.within(GRACE + LEASE, stage.is_over, "the end")
    assert await stage.result() == ["n1", None]


# --- 5 -----------------------------------------------------------------------------------------


@directed
async def test_5_what_a_step_was_built_from_stays(stage: Stage) -> None:
    """Two observations, a step made of them, a crash, the other order offered: the same step."""
    order = ["order", ["approve", "never-a", None], ["approve", "never-b", None]]
    step = ["step", "s1", {"feed": True, "kills": 1}]
    await stage.start(["seq", order, step])
    await stage.within(1, waits_for(stage, "note[1]/never-b"))
    await stage.decide(stage.p2, "note[1]/never-b")
    await stage.within(1, lambda: not is_open(stage, "note[1]/never-b")(), "the first observation")
    await stage.decide(stage.p2, "note[0]/never-a")
    # The watch compares what the step is given, at both times.
    await stage.within(LEASE * 2, stage.is_over, "the end")
    assert stage.begun("s1") == 2
    assert stage.world.crashes == 1


# --- 6 -----------------------------------------------------------------------------------------


@directed
async def test_6_a_decision_in_time_counts_though_seen_late(stage: Stage) -> None:
    """Decided at 10 s, out of time at 30 s, everything down until 60 s: approved."""
    await stage.start(["approve", "never-a", 30])
    await stage.within(1, waits_for(stage, "never-a"))
    await asyncio.sleep(10)
    gate = stage.hold(stage.p2, "deliver", after=True)
    decision = asyncio.ensure_future(stage.decide(stage.p2, "never-a"))
    await gate.reached.wait()
    for replica in stage.world.alive():
        replica.die("directed")
    decision.cancel()
    await asyncio.sleep(50)
    stage.add()
    await stage.within(LEASE, stage.is_over, "the end")
    assert await stage.result() == ["approval", "approved", None]


@directed
async def test_6_a_decision_after_the_timeout_is_refused(stage: Stage) -> None:
    """Decided a millisecond after the time-out was observed: refused, by any clock."""
    await stage.start(["seq", ["approve", "never-a", 3], ["sleep", 5000]])
    await stage.within(1, waits_for(stage, "never-a"))
    stage.p2.offset = -100  # for p2 there is still time
    await stage.within(4, lambda: not is_open(stage, "never-a")(), "the time-out")
    with pytest.raises(RunConflict):
        await stage.decide(stage.p2, "never-a")
    await stage.within(10, stage.is_over, "the end")
    assert await stage.result() == [["approval", "timed_out", None], True]


@directed
async def test_6_a_decision_and_the_timeout_at_once_have_one_winner(stage: Stage) -> None:
    """The slot is closed, the time-out not observed yet: who decides then is told of it."""
    await stage.start(["approve", "never-a", 3])
    await stage.within(1, waits_for(stage, "never-a"))
    gate = stage.hold(stage.p1, "settle", after=True)
    await gate.reached.wait()
    stage.p2.offset = -100  # for p2 there is still time
    with pytest.raises(RunConflict):
        await stage.decide(stage.p2, "never-a")
    gate.release()
    await stage.within(GRACE + LEASE, stage.is_over, "the end")
    assert await stage.result() == ["approval", "timed_out", None]


# --- 7 -----------------------------------------------------------------------------------------


@directed
async def test_7_a_cancel_before_the_end_is_accepted_and_wins(stage: Stage) -> None:
    """The run is about to finish, a cancellation comes in: it is accepted, so it counts."""
    gate = stage.hold(stage.p1, "finish")
    await stage.start(["task", "work", "n1", {}])
    await gate.reached.wait()
    await stage.ask(stage.p2, lambda engine: engine.cancel("r1"))
    gate.release()
    await stage.within(2, stage.is_over, "the end")
    assert stage.header.state is RunState.CANCELLED


@directed
async def test_7_a_cancel_after_the_end_is_refused(stage: Stage) -> None:
    """The run has just finished, and its holder does not know it yet: too late."""
    gate = stage.hold(stage.p1, "finish", after=True)
    await stage.start(["task", "work", "n1", {}])
    await gate.reached.wait()
    with pytest.raises(RunConflict):
        await stage.ask(stage.p2, lambda engine: engine.cancel("r1"))
    gate.release()
    await asyncio.sleep(10)
    assert stage.header.state is RunState.DONE


@directed
async def test_7_a_cancelled_operation_is_not_claimed(stage: Stage) -> None:
    """Its message is on the way while the workflow gives it up: its body never begins."""
    gate = stage.hold(stage.p1, "claim_task")
    await stage.start(["race", ["task", "work", "n1", {}], ["sleep", 100]])
    await gate.reached.wait()
    await stage.within(2, stage.is_over, "the end")
    await stage.within(1, lambda: outcome_of(stage, "race[0]/work") is not None, "the withdrawal")
    gate.release()
    await asyncio.sleep(8)
    assert stage.begun("race[0]/work") == 0
    assert outcome_of(stage, "race[0]/work") is OutcomeKind.CANCELLED


@directed
async def test_7_a_cancelled_operation_stays_cancelled(stage: Stage) -> None:
    """Its body ends after the workflow gave it up: its result is not recorded."""
    body = ["task", "work", "n1", {"ms": 900}]
    await stage.start(["seq", ["race", body, ["sleep", 100]], ["sleep", 3000]])
    await stage.within(5, stage.is_over, "the end")
    assert stage.begun("run[0]/work") + stage.begun("race[0]/work") == 1
    assert outcome_of(stage, "race[0]/work") is OutcomeKind.CANCELLED


# --- 8 -----------------------------------------------------------------------------------------


@directed
async def test_8_a_task_that_kills_its_process_ends_as_lost(stage: Stage) -> None:
    """After four processes, two with no other suspect, it ends; the workflow can catch it."""
    stage.world.replaces = True
    await stage.start(["try", ["task", "work", "n1", {"kills": NEVER}], None, None])
    await stage.within(90, stage.is_over, "the end")
    assert await stage.result() == ["caught", "lost"]
    assert stage.begun("work") == 4


@directed
async def test_8_a_workflow_that_kills_its_process_is_stuck(stage: Stage) -> None:
    """After five processes it waits for a person, and can be resumed after a repair."""
    stage.world.replaces = True
    await stage.start(["seq", ["task", "work", "n1", {}], ["kill", "r1", 5]])
    await stage.within(200, lambda: stage.header.state is RunState.STUCK, "being set aside")
    assert stage.world.crashes == 5
    history = len(stage.world.watch.runs["r1"].entries)
    await stage.ask(stage.world.alive()[0], lambda engine: engine.resume("r1"))
    await stage.within(LEASE + GRACE, stage.is_over, "the end")
    assert len(stage.world.watch.runs["r1"].entries) > history
    assert await stage.result() == [["n1", None], "alive"]


@directed
async def test_8_a_late_duplicate_start_changes_nothing(stage: Stage) -> None:
    """Starting again after the end gives the run that is there, and begins nothing."""
    program = ["task", "work", "n1", {}]
    await stage.start(program)
    await stage.within(2, stage.is_over, "the end")
    await asyncio.sleep(60)
    before, lines = stage.header, len(stage.world.lines)

    async def start(engine: Any) -> Any:
        return await engine.start("main", {"program": program}, run="r1")

    header, new = await stage.ask(stage.p2, start)
    assert not new
    assert header.state is RunState.DONE
    await asyncio.sleep(10)
    assert stage.header == before
    assert not [line for line in stage.world.lines[lines:] if "begins" in line]
    assert stage.begun("work") == 1


def test_what_a_replay_has_read_of_an_earlier_round_hides_no_outcome_of_this_one() -> None:
    """A decision that came right after the replay of a retried run was taken for read."""
    assert not simulate(SCENARIOS["clocks jump under retried runs"](17, "memory")).broken

"""What the simulation found in the protocol and the engine, each once more by direction."""

from __future__ import annotations

import asyncio
from typing import Any, cast
from unittest.mock import Mock

import pytest

from rewake.app import App
from rewake.clock import SystemClock
from rewake.engine.handover.handover import hand_over
from rewake.engine.instances.cache import Cache
from rewake.engine.services import Here
from rewake.kinds import OutcomeKind
from rewake.records import LATEST, Header, Invocation
from rewake.replay.execution import Execution
from rewake.states import RunState
from rewake.stores.answers import Refused, Taken, TaskClaim
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.table import Key, Written
from tests.simulation import programs
from tests.simulation.case import case_of
from tests.simulation.directed import (
    GRACE,
    LEASE,
    Gate,
    Stage,
    both,
    directed,
    is_open,
    outcome_of,
    play,
    waits_for,
)
from tests.simulation.faults import TOLD_FAILED
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.simulate import simulate
from tests.simulation.tagging import TAGGED


@directed
async def test_closing_after_the_end_does_not_undo_it(stage: Stage) -> None:
    """A process that is closed right after it committed the end of a run leaves it ended."""
    body = ["task", "work", "n1", {"ms": 500}]
    await stage.start(["race", body, ["approve", "never-a", None]])
    await stage.within(1, waits_for(stage, "race[0]/work"))
    gate = stage.hold(stage.p1, "cancel_withdrawn")
    await gate.reached.wait()
    closing = stage.p1.spawn(stage.p1.engine.close(grace=0))
    await asyncio.sleep(0.1)
    gate.release()
    await closing
    await asyncio.sleep(10)
    assert stage.header.state is RunState.DONE


@directed
async def test_a_wait_that_is_not_committed_is_not_closed(stage: Stage) -> None:
    """A holder stalls past the deadline of a wait that it has not committed: nobody is late."""
    gate = stage.hold(stage.p1, "park")
    await stage.start(["gather", False, ["task", "work", "n1", {}], ["approve", "never-a", 1]])
    await gate.reached.wait()
    await stage.ask(stage.p2, lambda engine: engine.cancel("r1"))  # so that it cannot park
    await asyncio.sleep(2)
    gate.release()
    await stage.within(LEASE, stage.is_over, "the end")


@directed
async def test_a_task_that_one_process_lacks_is_not_lost(stage: Stage) -> None:
    """During a deployment a process may not know a task: it waits for one that does."""
    older = App(programs)
    del older.tasks["work"]
    stage.p1.engine.services.app = older
    stage.world.favourite = stage.p2
    gate = stage.hold(stage.p2, "park", after=True)
    await stage.start(["task", "work", "n1", {}])
    await gate.reached.wait()
    stage.world.favourite = stage.p1
    gate.release()
    await asyncio.sleep(20)
    assert stage.begun("work") == 0
    stage.world.favourite = stage.p2
    await stage.within(GRACE, stage.is_over, "the end")
    assert await stage.result() == ["n1", None]


@directed
async def test_a_canceller_that_dies_has_cancelled(stage: Stage) -> None:
    """The flag is set and nobody was told: the run's due time brings it up."""
    await stage.start(["approve", "never-a", None])
    await stage.within(1, waits_for(stage, "never-a"))
    gate = stage.hold(stage.p2, "cancel", after=True)
    asking = asyncio.ensure_future(stage.ask(stage.p2, lambda engine: engine.cancel("r1")))
    await gate.reached.wait()
    stage.p2.die("directed")
    asking.cancel()
    await stage.within(GRACE, stage.is_over, "the end")
    assert stage.header.state is RunState.CANCELLED


@directed
async def test_a_task_is_looked_after_while_a_step_runs(stage: Stage) -> None:
    """Its message is lost, its run is not parked but renewed: it begins all the same."""
    gate = stage.hold(stage.p1, "commit", after=True)
    await stage.start(["race", ["task", "work", "n1", {}], ["step", "s1", {"hangs": -1}]])
    await gate.reached.wait()
    stage.chaos.deaf = True
    gate.release()
    await asyncio.sleep(0.01)
    stage.chaos.deaf = False
    await stage.within(GRACE * 3, stage.is_over, "the end")


@directed
async def test_what_arrives_during_a_commit_is_seen_while_a_step_runs(stage: Stage) -> None:
    """A commit knows of an arrival that came after the outcomes were read: so they are again."""
    waits = ["seq", ["approve", "never-a", None], ["task", "work", "n1", {}]]
    works = ["seq", ["step", "s0", {"ms": 500}], ["step", "s1", {"ms": 30_000}]]
    await stage.start(["gather", False, waits, works])
    await stage.within(1, is_open(stage, "run[0]/never-a"), "the first commit")
    gate = stage.hold(stage.p1, "commit")
    await gate.reached.wait()
    await stage.decide(stage.p2, "run[0]/never-a")
    gate.release()
    await stage.within(1, lambda: stage.begun("run[0]/work") == 1, "the approval")


@directed
async def test_what_an_ended_run_gave_up_is_cancelled(stage: Stage) -> None:
    """A process ends a run and dies before it has cancelled a task that goes on elsewhere."""
    parked = stage.hold(stage.p1, "park", after=True)
    never = ["task", "work", "n1", {"hangs": -1}]
    await stage.start(["race", never, ["approve", "never-a", None]])
    await parked.reached.wait()
    stage.world.favourite = stage.p2
    parked.release()
    await stage.within(1, lambda: stage.begun("race[0]/work") == 1, "the task")
    ended = stage.hold(stage.p1, "finish", after=True)
    await stage.decide(stage.p1, "race[1]/never-a")
    await ended.reached.wait()
    stage.p1.die("directed")
    cancelled = OutcomeKind.CANCELLED
    await stage.within(GRACE, lambda: outcome_of(stage, "race[0]/work") is cancelled, "its end")
    await asyncio.sleep(LEASE + GRACE)
    assert await stage.world.base.due(LATEST, limit=9) == []


@directed
async def test_a_cancel_before_the_first_commit_is_not_before_the_start(stage: Stage) -> None:
    """The clock of the process that notices is behind that of the one that started the run."""
    stage.p1.offset, stage.p2.offset = 120, -120
    stage.world.favourite = stage.p2
    gate = stage.hold(stage.p2, "claim")
    await stage.start(["task", "work", "n1", {}])
    await gate.reached.wait()
    await stage.ask(stage.p1, lambda engine: engine.cancel("r1"))
    gate.release()
    await stage.within(1, stage.is_over, "the end")
    assert stage.header.state is RunState.CANCELLED


@directed
async def test_a_sweeper_that_stalls_does_not_let_go_of_what_came_later(stage: Stage) -> None:
    """When it writes, the run is parked once more, due at the same time, with another task."""
    looks = stage.hold(stage.p2, "recheck", always=True)
    stage.hold(stage.p1, "recheck", always=True)
    await stage.start(["seq", ["task", "work", "n1", {"ms": 5_500}], ["task", "work", "n2", {}]])
    await looks.reached.wait()
    parks = stage.hold(stage.p1, "park", after=True)
    await parks.reached.wait()
    stage.p1.die("directed")
    looks.release()
    await stage.within(GRACE + LEASE, stage.is_over, "the end")
    assert await stage.result() == [["n1", None], ["n2", None]]


@directed
async def test_a_large_result_reaches_who_carries_on_with_it(stage: Stage) -> None:
    """Who delivers a result that is kept apart, and goes on with the run, has it whole."""
    await stage.start(["task", "work", "n1", {"big": True}])
    await stage.within(1, stage.is_over, "the end")
    assert await stage.result() == ["n1", None, len(programs.BIG)]


@directed
async def test_a_log_that_cannot_be_kept_fails_no_attempt(stage: Stage) -> None:
    """The store refuses for a while what a task logged; its result waits for it, and counts."""
    stage.fault(stage.p1, "streams.put", *[("put", "S", "before")] * 4)
    await stage.start(["task", "work", "n1", {"logs": True}])
    await stage.within(3, stage.is_over, "the end")
    assert await stage.result() == ["n1", None]
    assert stage.begun("work") == 1


async def _losing_what_follows(stage: Stage, method: str) -> None:
    """Let p1 get through this method, and the messages that it sends then be lost."""
    gate = stage.hold(stage.p1, method, after=True)
    await stage.within(1, gate.reached.is_set, method)
    stage.chaos.deaf = True
    gate.release()
    await asyncio.sleep(0.01)
    stage.chaos.deaf = False


@directed
async def test_a_look_at_a_run_that_was_denied_acts_all_the_same(stage: Stage) -> None:
    """A sweep moves what it acts on; the store did that and says it failed: it is not lost."""
    stage.p2.die("directed")
    stage.fault(stage.p1, "recheck", ("update", "H", TOLD_FAILED))
    await stage.start(["task", "retried", "n1", {}])
    await _losing_what_follows(stage, "park")
    await stage.within(GRACE, stage.is_over, "the end")
    assert stage.chaos.fired["update", TOLD_FAILED] == 1


@directed
async def test_a_look_at_a_task_that_was_denied_acts_all_the_same(stage: Stage) -> None:
    """The same of a task that is due for its next attempt, whose message was lost."""
    stage.p2.die("directed")
    stage.fault(stage.p1, "postpone", ("update", "O", TOLD_FAILED))
    await stage.start(["task", "retried", "n1", {"fails": 1}])
    await _losing_what_follows(stage, "retry_task")
    await stage.within(2, stage.is_over, "the second attempt")
    assert stage.chaos.fired["update", TOLD_FAILED] == 1


def test_an_instance_that_is_kept_twice_is_dropped_once() -> None:
    """Another invocation of a run kept its instance first: it is dropped, not just forgotten."""

    class Instance:
        dropped = False

        def drop(self) -> None:
            self.dropped = True

    cache, header = Cache(9), Header("r1", "main", 0, seed=0, runtime=1)
    first, second = Instance(), Instance()
    cache.keep(header, cast(Execution, first))
    cache.keep(header, cast(Execution, second))
    assert (first.dropped, second.dropped) == (True, False)


class _Contended(MemoryTable):
    """Before each of the first updates of an item that is there, somebody takes it and lets go."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._left = times

    async def update(self, key: Key, **changes: Any) -> Written:
        if self._left and await self.get(key) is not None and changes["set"].get("owner"):
            self._left -= 1
            await super().update(key, set={"lease": self._left + 1})
        return await super().update(key, **changes)


def _store(table: MemoryTable) -> Store:
    return Store(table, table, mark=lambda: "t", clock=SystemClock(), here=Here(Cache(0)))


@pytest.mark.parametrize("times", range(4))
def test_a_claim_that_is_won_late_is_won(times: int) -> None:
    """However often somebody comes in between, who holds a task in the end is told so."""

    async def claim() -> None:
        store = _store(_Contended(times))
        store._clock = Mock(now=lambda: 0)  # nobody has stood still
        first = TaskClaim("r1", "work", "work", "first", 0, 1)
        assert isinstance(await store.claim_task(first), Taken)
        looks = TaskClaim("r1", "work", "work", "looks", 7_000, 1)
        assert isinstance(await store.claim_task(looks), Refused)
        second = TaskClaim("r1", "work", "work", "second", 10_000, 5_000)
        claimed = await store.claim_task(second)
        assert isinstance(claimed, Taken)
        assert claimed.operation.owner == "second"

    asyncio.run(claim())


def test_a_claim_that_took_longer_than_its_lease_begins_nothing_beside_itself() -> None:
    """A process that stood still in its claim asks whether it still holds the run."""
    assert not simulate(case_of(302681, "memory")).broken


def test_a_late_decision_holds_no_run_under_a_lease_that_is_over() -> None:
    """Who settles a wait as timed out, dated back, does not claim the run as of then."""
    assert not simulate(case_of(72290, "memory")).broken


def test_what_a_wide_run_claims_is_held_before_its_leases_are_over() -> None:
    """Where each claim is a write of its own, 62 tasks were claimed before the first one began."""
    assert not simulate(SCENARIOS["a run is wide"](22, "memory")).broken


@both
def test_an_attempt_that_was_interrupted_elsewhere_keeps_its_number(store: str) -> None:
    """A process whose suspended instance was behind gave the number of another's once more."""
    assert not simulate(case_of(8101079, store)).broken


def test_clocks_that_are_an_hour_apart_end_no_wait_that_never_ends() -> None:
    """Each time they observe something in turn, a timer is an hour nearer to its end."""
    assert not simulate(case_of(8201338, "memory")).broken


WORK = ["task", "work", "n1", {"ms": 500}]


async def _dies_before_it_arrives(stage: Stage, key: str) -> None:
    """Let p2 carry out this task, settle it, and die before the run hears of it."""
    stage.world.favourite = stage.p2
    stage.hold(stage.p2, "_arrive_and_claim")
    stage.hold(stage.p2, "_arrive", always=True)
    await stage.within(2, lambda: outcome_of(stage, key) is OutcomeKind.OK, "the outcome")
    stage.p2.die("directed")


@pytest.mark.parametrize(
    ("call", "program", "key"),
    [
        ("park", WORK, "work"),
        ("commit", ["race", WORK, ["step", "s1", {"hangs": -1}]], "race[0]/work"),
    ],
    ids=["by a suspended instance", "while a step runs"],
)
def test_an_outcome_that_never_arrived_is_looked_for(
    call: str, program: list[Any], key: str
) -> None:
    """Its deliverer died, and no number tells the instance to read it: a look at the run does.

    The same while the run has a step that takes for ever: a look at its tasks finds it.
    """

    async def script(stage: Stage) -> None:
        written = stage.hold(stage.p1, call, after=True)
        await stage.start(program)
        await written.reached.wait()
        dying = asyncio.ensure_future(_dies_before_it_arrives(stage, key))
        await asyncio.sleep(0)
        written.release()
        await dying
        await stage.within(GRACE * 2, stage.is_over, "the end")
        assert stage.begun(key) == 1

    play("memory", script)


def test_an_outcome_that_never_arrived_is_seen() -> None:
    """As it was found: two processes looked at the run for ever, and saw nothing new."""
    assert not simulate(case_of(8206732, "memory")).broken


def test_a_deadline_is_not_moved_by_a_clock_that_was_an_hour_ahead() -> None:
    """It is a time of day, and stays: who decides at the last moment does so an hour later."""
    assert not simulate(case_of(8207710, "memory")).broken


@pytest.mark.parametrize(
    ("seed", "store"), [(8206107, "sqlite"), (8210815, "sqlite"), (8224180, "memory")]
)
def test_an_attempt_that_was_lost_under_another_clock_keeps_its_number(
    seed: int, store: str
) -> None:
    """A lease that began again on a clock that was set back ended before the attempt had begun.

    So it may before one had ended that was lost earlier, which says nothing of when the next began.
    """
    assert not simulate(case_of(seed, store)).broken


def test_who_cancels_what_a_dead_process_held_does_not_prolong_its_lease() -> None:
    """The request made an item of a clock that was ahead look as if it were of now."""
    assert not simulate(case_of(601, "sqlite")).broken


async def goes_on_elsewhere(stage: Stage, gate: Gate, key: str, seconds: float) -> None:
    """At the gate the work is handed over; its body begins in the other process, and only there."""
    await gate.reached.wait()
    stage.world.favourite = stage.p2
    await stage.p1.spawn(hand_over(stage.p1.engine.services, None, "it was blocked"))
    await stage.within(seconds, lambda: stage.begun(key) == 1, "the body")
    gate.release()
    await stage.within(LEASE, stage.is_over, "the end")
    assert stage.begun(key) == 1


@directed
async def test_a_turn_that_was_handed_over_begins_no_step(stage: Stage) -> None:
    """Its loop stood still and goes on, before its heart has heard that another has the run."""
    gate = stage.hold(stage.p1, "history")
    await stage.start(["step", "s1", {"ms": 3_000}])
    await goes_on_elsewhere(stage, gate, "s1", 2)


@directed
async def test_an_attempt_that_was_handed_over_does_not_begin(stage: Stage) -> None:
    """Its claim was written, and the answer came when another process had begun the attempt."""
    await stage.start(["seq", ["nap", 500], ["task", "work", "n1", {"ms": 3_000}]])
    gate = stage.hold(stage.p1, "claim_task", after=True)
    stage.world.favourite = stage.p1
    await goes_on_elsewhere(stage, gate, "work", 6)


def test_a_turn_that_was_handed_over_gives_no_number() -> None:
    """It had read which numbers were given until then, and gave the next one once more."""
    assert not simulate(case_of(8220271, "memory")).broken


def test_what_is_cancelled_of_a_dead_process_does_not_stay_due() -> None:
    """An outcome made the due time of a clock that was ahead look like one of now."""
    assert not simulate(case_of(8226791, "memory")).broken


def test_a_turn_takes_no_number_from_the_records_of_who_took_it_over() -> None:
    """By another clock its lease was over at once: it read what the next turn had counted."""
    assert not simulate(case_of(8244914, "sqlite")).broken


@directed
async def test_who_claims_what_it_has_just_handed_over_begins_nothing_beside_itself(
    stage: Stage,
) -> None:
    """A claim was under way while its loop was blocked, and the turn that it had has not ended."""
    await stage.start(["step", "s1", {"ms": 5_000}])
    await stage.within(1, lambda: stage.begun("s1") == 1, "the step")
    stage.p2.die("directed")
    gate = stage.hold(stage.p1, "claim")
    claiming = stage.p1.spawn(stage.p1.engine.handle(Invocation("r1")))
    await gate.reached.wait()
    await stage.p1.spawn(hand_over(stage.p1.engine.services, None, "it was blocked"))
    gate.release()
    await claiming
    await stage.within(LEASE, stage.is_over, "the end")
    assert stage.begun("s1") == 2


def test_a_cancellation_before_the_end_may_lose_a_step_that_runs_at_most_once() -> None:
    """The end that was to commit its result is discarded: nobody died, and it is not repeated."""
    assert not simulate(case_of(8271584, "memory")).broken


@pytest.mark.parametrize(("seed", "store"), [(8263179, "sqlite"), (8275054, "memory")])
def test_a_turn_that_counts_what_its_successor_began_begins_nothing(seed: int, store: str) -> None:
    """By another clock its lease was over at once: it counted the attempt that the next began."""
    assert not simulate(case_of(seed, store)).broken


def test_a_beat_that_was_paused_gives_its_process_nothing_that_is_held_no_more() -> None:
    """The run was released before; it named a process that no longer had a lease, for minutes."""
    assert not simulate(case_of(8401466, "memory")).broken


def test_what_a_dead_process_held_by_a_clock_ahead_is_found_when_that_is_seen() -> None:
    """It was looked for as far ahead as the right clock goes, and stood for five minutes then."""
    assert not simulate(case_of(7320250, "memory")).broken


def test_a_claim_that_a_set_back_overtakes_is_of_the_moment_that_it_was_made_at() -> None:
    """Its lease was of the old clock, and it was written by the new one: nobody saw it ahead."""
    assert not simulate(case_of(9400014, "memory")).broken


@directed
async def test_a_look_does_not_end_what_a_process_of_other_tags_has_handed_on(
    stage: Stage,
) -> None:
    """An outcome left a due time that was over as it was; the look was from before it (730332)."""
    stage.p2.die("directed")
    stage.world.add_replica(TAGGED)
    await stage.start(["task", "work", "n1", {"tag": "gpu", "ms": 5_000}])
    looks = stage.hold(stage.p1, "recheck", always=True)
    await looks.reached.wait()
    await stage.within(LEASE, lambda: stage.header.arrivals == 1, "the outcome")
    looks.release()
    await stage.within(1.5, stage.is_over, "the end")


@directed
async def test_a_run_that_waits_for_a_child_is_left_alone(stage: Stage) -> None:
    """Its looks set the due time of its next one to the beginning of time (387)."""
    await stage.start(["child", ["approve", "never-a", None]])
    await stage.within(1, lambda: len(stage.world.watch.runs) == 2, "the child")
    await asyncio.sleep(GRACE * 4)
    before = stage.chaos.finer["get H"] + stage.chaos.finer["update H"]
    await asyncio.sleep(60)
    assert stage.chaos.finer["get H"] + stage.chaos.finer["update H"] == before
    [child] = stage.world.watch.runs.keys() - {"r1"}
    await stage.decide(stage.p2, "never-a", run=child)
    await stage.within(1, stage.is_over, "the end")


async def begins_unheard(stage: Stage, program: list[Any]) -> str:
    """Let p1 begin another run, and die before it commits that; give the id of the other one."""
    asked = stage.hold(stage.p1, "park", after=True)
    await stage.start(program)
    await asked.reached.wait()
    heard = stage.hold(stage.p1, "park")
    asked.release()
    await heard.reached.wait()
    stage.p1.die("directed")
    [child] = stage.world.watch.runs.keys() - {"r1"}
    return child


TIED = ["kin", "k", ["approve", "never-a", None], "tied"]


@directed
async def test_a_killed_run_takes_what_is_tied_to_it_although_it_has_not_heard_of_it(
    stage: Stage,
) -> None:
    """Its body had not come to tie it, and it went on for ever (1109)."""
    child = stage.world.watch.runs[await begins_unheard(stage, TIED)]
    await stage.ask(stage.p2, lambda engine: engine.kill("r1"))
    await stage.within(GRACE, lambda: child.over, "the end of what was tied")
    assert child.header.state is RunState.CANCELLED


@directed
async def test_a_start_that_was_given_up_is_taken_back_by_whoever_comes_next(stage: Stage) -> None:
    """The process that committed it died before it asked the other run to cancel."""
    child = stage.world.watch.runs[await begins_unheard(stage, TIED)]
    gate = stage.hold(stage.p2, "finish", after=True)
    await stage.ask(stage.p2, lambda engine: engine.cancel("r1"))
    await gate.reached.wait()
    stage.p2.die("directed")
    stage.add()
    await stage.within(LEASE + GRACE, lambda: child.over, "the end of what was tied")
    assert child.header.state is stage.header.state is RunState.CANCELLED


@directed
async def test_a_signal_that_came_early_is_heard_while_a_step_runs(stage: Stage) -> None:
    """It was asked for after the last arrival, and heard once the step had ended (630)."""
    hears = ["seq", ["step", "s0", {"ms": 500}], ["hear", "line-s", 2]]
    await stage.start(["gather", False, ["step", "s1", {"ms": 30_000}], hears])
    for number in range(2):
        await stage.signal(stage.p2, "line-s", number)
    await stage.within(1, lambda: stage.begun("run[1]/s0") == 1, "the step before")
    run = stage.world.watch.runs["r1"]
    await stage.within(1, lambda: run.heard == {"line-s/0", "line-s/1"}, "both")


def test_what_was_waited_for_in_line_is_looked_after_as_it_comes() -> None:
    """A task was given what another came to, and stayed due as who waits is: for an hour."""
    assert not simulate(case_of(4, "sqlite")).broken


@directed
async def test_a_run_is_begun_once_more_although_its_laps_go_by(stage: Stage) -> None:
    """What it was read by is removed while it is read; what stands by then is read instead."""
    wide = [["task", "work", f"n{number}", {"ms": 100}] for number in range(12)]
    await stage.start(["laps", 20, ["gather", False, *wide], None])
    await stage.within(3, lambda: stage.header.lap.number == 2 and bool(stage.header.base), "a lap")
    gate = stage.hold(stage.p2, "history")
    asking = asyncio.ensure_future(stage.ask(stage.p2, lambda e: e.rerun("r1", id="again")))
    await gate.reached.wait()
    await stage.within(9, lambda: stage.header.lap.number > 5, "three laps more")
    gate.release()
    assert (await asking).run == "again"


def test_what_comes_late_of_a_first_lap_leaves_nothing() -> None:
    """Its item was removed, and an attempt that had stood still made it anew."""
    assert not simulate(case_of(20019, "sqlite")).broken


@pytest.mark.parametrize("seed", [722225, 722333])
def test_a_run_that_has_observed_nothing_is_looked_at_soon(seed: int) -> None:
    """It seemed to be parked since the beginning of time, and the next look was in years."""
    assert not simulate(case_of(seed, "memory")).broken


def test_a_run_that_is_begun_once_more_after_its_end_comes_to_its_own_end() -> None:
    """Nobody waited for who was about to begin it, and it was judged as it stood half done."""
    verdict = simulate(case_of(21047, "sqlite"))
    assert not verdict.broken
    assert verdict.states == {"r1": RunState.DONE, "r1-fork": RunState.DONE}


def test_a_turn_that_is_held_back_leaves_what_the_one_before_it_has_left() -> None:
    """It noted that all was in order; a wait that a dead turn had not made known never was."""
    assert not simulate(case_of(60268, "memory")).broken


def test_what_the_judge_looks_for_is_no_cost_of_the_runs() -> None:
    """One look for each run, of which a short story can have many."""
    assert not simulate(case_of(740179, "dynamodb")).broken


@pytest.mark.parametrize(("seed", "store"), [(740343, "dynamodb"), (61142, "memory")])
def test_a_branch_that_loses_as_it_leaves_a_state_lets_go(seed: int, store: str) -> None:
    """Its step was withdrawn, and the rest of its run waited for the state, which it had itself."""
    assert not simulate(case_of(seed, store)).broken

"""The table of moves: all that can become of a run."""

from __future__ import annotations

import pytest

from rewake.kinds import OutcomeKind
from rewake.states import END_OF, ENDED, LIVE, MOVES, TERMINAL, Move, RunState, may_become

WRITTEN_OUT = {
    "ready": {"ready", "running", "paused", "cancelled"},
    "running": {"running", "parked", "paused", "ready", "stuck", "done", "failed", "cancelled"},
    "parked": {"parked", "running", "paused", "cancelled"},
    "delayed": {"delayed", "running", "paused", "ready", "cancelled"},
    "paused": {"paused", "delayed", "ready", "cancelled"},
    "stuck": {"stuck", "ready", "cancelled"},
    "done": {"removed"},
    "failed": {"ready", "removed"},
    "cancelled": {"removed"},
    "removed": set[str](),
}
"""The drawing at the head of the module, once more: what each state may become by one move."""


@pytest.mark.parametrize("before", RunState)
@pytest.mark.parametrize("after", RunState)
def test_each_move_is_one_of_the_drawing(before: RunState, after: RunState) -> None:
    """A run becomes what the drawing says, and nothing else."""
    assert may_become(before, after) == (after.value in WRITTEN_OUT[before.value])


def test_every_state_is_reached_and_no_end_but_a_failure_is_left() -> None:
    """From a start each state can be reached; an end is only removed, but a failed run goes on."""
    reached = {RunState.READY, RunState.RUNNING, RunState.DELAYED}
    for _ in RunState:
        reached |= {after for after in RunState for before in reached if may_become(before, after)}
    assert reached == set(RunState)
    ends = TERMINAL - {RunState.FAILED}
    after_an_end = {after for end in ends for after in RunState if may_become(end, after)}
    assert after_an_end == {RunState.REMOVED}
    assert set(LIVE) | TERMINAL | {RunState.STUCK, RunState.PAUSED} == set(RunState)


def test_every_outcome_ends_a_run() -> None:
    """Each kind of outcome leaves a run in an end, and a finish can bring it there."""
    assert END_OF.keys() == set(OutcomeKind)
    assert set(END_OF.values()) == set(ENDED) == set(MOVES[Move.FINISH].targets)


def test_every_move_is_in_the_table() -> None:
    """A move has a path; only what comes from outside leaves a run where it is."""
    assert MOVES.keys() == set(Move)
    stay = {Move.ARRIVE, Move.SIGNAL, Move.CANCEL, Move.CALL_OFF, Move.ASK_PAUSE}
    assert {move for move, path in MOVES.items() if not path.targets} == stay

"""What a look at a parked run finds: whether it may go on, and when to look again."""

from __future__ import annotations

import pytest

from rewake.engine.sweeping.parked import MANY, Parked
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Failure, Header, Operation, Outcome, Scheduled

GRACE = 4_000
DONE = Outcome(OutcomeKind.OK)
FAILED = Outcome(OutcomeKind.ERROR, origin=Failure("ValueError", "no"))


def look(
    outcomes: list[Outcome],
    *,
    needs: int,
    spared: int = 0,
    tasks: int = 4,
    others: int = 0,
    parked: int = 0,
) -> Parked:
    kinds = [Kind.TASK] * tasks + [Kind.APPROVAL] * others
    asked = [Scheduled(f"t.{n}", kind, "t", "") for n, kind in enumerate(kinds)]
    header = Header("r", "w", 0, seed=0, runtime=1, needs=needs, spared=-spared, clock=0)
    found = Parked(header, asked, parked, GRACE)
    for each in outcomes:
        found.ended(Operation("r", "t", Kind.TASK, outcome=each))
    return found


@pytest.mark.parametrize(
    ("found", "goes_on"),
    [
        (look([], needs=0), False),
        (look([DONE], needs=0), True),
        (look([DONE], needs=4), False),
        (look([DONE] * 3, needs=4), False),
        (look([DONE] * 4, needs=4), True),
        (look([DONE] * 2, needs=2), True),
        (look([DONE] * 2, needs=4, others=1), False),
        (look([DONE] * 3, needs=4, others=1), True),
        (look([DONE] * 4, needs=9), True),
        (look([FAILED], needs=4), True),
        (look([FAILED], needs=4, spared=1), False),
        (look([FAILED] * 2, needs=4, spared=1), True),
    ],
)
def test_a_run_goes_on_by_as_many_as_it_needs(found: Parked, goes_on: bool) -> None:
    """Or by a failure that it may not bear; others than tasks and children may have ended."""
    assert found.goes_on is goes_on


@pytest.mark.parametrize(
    ("parked", "tasks", "after"),
    [(0, 4, GRACE), (8 * 3_600_000, 4, 3_600_000), (0, 3 * MANY, 3 * GRACE)],
)
def test_looks_for_what_has_not_arrived_become_rare(parked: int, tasks: int, after: int) -> None:
    """The longer a run is parked, and the more it has open."""
    assert look([DONE], needs=4, parked=parked, tasks=tasks).next() == parked + after


def test_where_nothing_can_be_lost_nobody_looks() -> None:
    """What has a due time of its own is looked at by that."""
    assert look([], needs=4).next() is None

"""Whether a wait's time is over."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rewake.engine.turns.deadlines import timed_out
from rewake.kinds import OutcomeKind

MOMENTS = st.integers(0, 2**45)


@given(MOMENTS, MOMENTS)
def test_a_wait_ends_at_its_deadline(due: int, now: int) -> None:
    """From its deadline on, a wait has timed out as of that moment, however late it is seen."""
    ended = timed_out(due, now)
    if now < due:
        assert ended is None
    else:
        assert ended is not None
        outcome, at = ended
        assert (outcome.kind, at) == (OutcomeKind.TIMEOUT, due)


@given(MOMENTS)
def test_a_wait_without_a_deadline_never_ends(now: int) -> None:
    """Without a deadline nothing times out."""
    assert timed_out(None, now) is None

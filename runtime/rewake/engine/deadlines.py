"""A wait with a deadline: whether its time is over is judged here, and nowhere else.

An outcome that was settled before the deadline counts, however late the run sees it. After the
deadline nothing else can be settled: the wait has ended in a timeout as of its deadline.
"""

from __future__ import annotations

from rewake.kinds import OutcomeKind
from rewake.records import Millis, Outcome


def timed_out(due: Millis | None, now: Millis) -> tuple[Outcome, Millis] | None:
    """How and when a wait until `due` has ended; None while something may still end it."""
    if due is None or due > now:
        return None
    return Outcome(OutcomeKind.TIMEOUT), due

"""Deadlines of waits: only this module judges whether the time of a wait is over.

An outcome that was settled before the deadline counts, however late the run sees it. After the
deadline nothing else can be settled: the wait has ended in a timeout as of its deadline.
"""

from __future__ import annotations

from rewake.kinds import OutcomeKind
from rewake.records import Millis, Outcome


def timed_out(due: Millis | None, now: Millis) -> tuple[Outcome, Millis] | None:
    """The outcome of a wait whose deadline `due` has passed, and its time; None before that."""
    if due is None or due > now:
        return None
    return Outcome(OutcomeKind.TIMEOUT), due

"""What the new entries of a commit ask of who writes them."""

from __future__ import annotations

from collections.abc import Sequence

from rewake.records import Completed, Entry, Fired, Logged, Scheduled, Signalled, Stepped, Withdrawn
from rewake.replay.operation import OpenOp


def must_commit(fresh: Sequence[Entry], ready: Sequence[OpenOp]) -> bool:
    """Whether to commit before these steps start.

    Observations must be durable first, and other operations must not wait until the steps end.
    A step that runs at most once must be in the history before it begins.
    """
    if any(op.work.at_most_once for op in ready):
        return bool(fresh)
    return any(not (_asks_for_step(entry) or isinstance(entry, Logged)) for entry in fresh)


def dispatched(entries: Sequence[Entry]) -> list[Scheduled]:
    """The operations of a commit that are to be dispatched, without those it withdraws again."""
    asked = [e for e in entries if isinstance(e, Scheduled) and e.kind.traits.dispatched]
    if not asked:
        return asked
    gone = {entry.key for entry in entries if type(entry) is Withdrawn}
    return [entry for entry in asked if entry.key not in gone] if gone else asked


def withdraws(entries: Sequence[Entry]) -> bool:
    """Whether an operation is withdrawn that has an item of its own to cancel."""
    return any(type(entry) is Withdrawn and entry.kind.traits.awaited for entry in entries)


def is_progress(entry: Entry) -> bool:
    """Whether it tells that something has ended well, so that the run gets on."""
    if isinstance(entry, Stepped):
        return entry.retry_at is None
    return type(entry) in (Completed, Fired, Signalled)


def _asks_for_step(entry: Entry) -> bool:
    return isinstance(entry, Scheduled) and entry.kind.traits.inline

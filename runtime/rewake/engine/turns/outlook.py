"""What an execution waits for, and whether an event is about that."""

from __future__ import annotations

from collections.abc import Sequence

from rewake.records import (
    CancelRequested,
    ClockSetBack,
    Entry,
    Event,
    Header,
    Millis,
    Outcome,
    Scheduled,
)
from rewake.replay.execution import Execution


def next_wake(execution: Execution, *, begins: bool = True) -> Millis | None:
    """When something that it waits for is due next. `begins`: also the next attempt at a step."""
    moments: list[Millis] = []
    for op in execution.open.values():
        if op.due is not None:
            moments.append(op.due)
        if begins and op.not_before is not None:
            moments.append(op.not_before)
        if op.silence is not None and op.silent_at is not None:
            moments.append(op.silent_at)
    return min(moments, default=None)


def goes_on(execution: Execution) -> bool:
    """Whether an operation waits for nothing: what it is asked with is told by the next commit."""
    open_ = execution.open.values() if execution.responded else ()
    return any(op.kind.traits.answers for op in open_)


def scheduled(entries: Sequence[Entry]) -> set[str]:
    """The keys of what these entries ask for."""
    return {entry.key for entry in entries if isinstance(entry, Scheduled)}


def concerns(execution: Execution, event: Event) -> bool:
    """Whether the event is about an open operation: an earlier event may have closed it."""
    about = getattr(event, "key", "")
    return about in execution.open or isinstance(event, CancelRequested | ClockSetBack)


def in_order(
    found: list[tuple[Millis, str, Event, Outcome | None]],
    header: Header,
    execution: Execution,
    now: Millis,
) -> list[tuple[Event, Outcome | None]]:
    """What was found, each with its moment and place, as events in the order of happening.

    Behind a request to cancel that was not observed yet, and a clock that was set back.
    """
    if len(found) > 1:
        found.sort(key=lambda each: each[:2])
    events = [(event, outcome) for _, _, event, outcome in found]
    if header.cancel is not None and header.cancels > execution.cancels:
        events.insert(0, (CancelRequested(now, header.cancel, header.cancels), None))
    if now < execution.machine:
        events.insert(0, (ClockSetBack(now), None))
    return events

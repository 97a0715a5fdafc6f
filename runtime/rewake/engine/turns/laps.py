"""The first entries of a run's next lap. `rewake.stores.laps` has the rules."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from rewake.noted import HeardEvents, LapBegun
from rewake.records import (
    Emitted,
    Entry,
    Header,
    Logged,
    Millis,
    Scheduled,
    Signalled,
    Started,
    StartedAnew,
    Value,
)
from rewake.replay.again import Continued


def first_entries(
    header: Header,
    started: Started,
    lap: Sequence[Entry],
    end: Continued,
    now: Millis,
    events: dict[str, HeardEvents],
) -> list[Entry]:
    """What the next lap begins with, behind a lap of these entries, which began with `started`.

    What the body has said in that lap goes with it, for whoever has not read it yet. One that had
    failed gets once more what it was sent.
    """
    before = started.lap
    known, said = lap[1 : 1 + before.carried], list(told(lap[1 + before.carried :], started))
    begun = LapBegun(
        before.number + 1,
        carried=len(said),
        items=before.items + sum(not isinstance(each, Logged) for each in known),
        lines=before.lines + sum(len(each.lines) for each in known if isinstance(each, Logged)),
        heard=[each.signal for each in lap if isinstance(each, Signalled)],
        over=before.heard,
        events=events,
    )
    if end.failure is not None:
        begun = replace(begun, heard=before.heard, over=before.over, events=before.events)
    facts = (now, end.args, started.by, header.round + 1, begun, started.scheduled)
    labels = header.labels or {}
    if end.failure is None:
        return [Started(*facts, labels), *said]
    return [StartedAnew(*facts, labels, end.failure, end.begins), *said]


def told(gone: Sequence[Entry], event: Entry) -> Iterable[Entry]:
    """What the body said in a part that is cut off: readers were told, in this order."""
    clock = 0
    for entry in [event, *gone]:
        clock = max(clock, getattr(entry, "clock", 0))
        match entry:
            case Logged() | Emitted():
                yield entry
            case Scheduled(kind=kind, args=Value() as value) if kind.traits.streamed:
                yield Emitted(entry.key, clock, value, entry.round)

"""The first entries of a run's next lap. `rewake.stores.laps` has the rules."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from rewake.engine.retries import told
from rewake.noted import HeardEvents, LapBegun
from rewake.records import Entry, Header, Logged, Millis, Signalled, Started, Value


def first_entries(
    header: Header,
    lap: Sequence[Entry],
    again: Value,
    now: Millis,
    events: dict[str, HeardEvents],
) -> list[Entry]:
    """What the next lap begins with, behind a lap of these entries.

    What the body has said in that lap goes with it, for whoever has not read it yet.
    """
    started = lap[0]
    assert isinstance(started, Started)
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
    begins = replace(started, clock=now, args=again, round=header.round + 1, lap=begun)
    return [replace(begins, labels=header.labels or {}), *said]

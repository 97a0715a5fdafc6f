"""Events as they are stored: what was published, where it is found, and who waits for it.

`rewake.engine.outside.events` has the rules; where each of these items lives is in
`rewake.stores.keys`.
"""

from __future__ import annotations

import msgspec

Millis = int
"""A moment, as in `rewake.records`."""


class Published(msgspec.Struct, omit_defaults=True):
    """An event. It is due until all who wait for it were told, and then for its removal."""

    name: str
    id: str
    """What its publisher calls it: no two events of a name have one id."""
    codec: str
    body: msgspec.Raw
    """Its data, as a `Value` that is never kept apart."""
    at: Millis
    """When it was published."""
    by: str = ""
    """Who published it: a principal, or a run."""
    place: Millis | None = None
    """Its place among the events of its name: None until all who look can find it there."""
    due: Millis | None = None
    """When a sweep must check it."""
    written: Millis = 0
    """When that was set, by the clock of who set it. See `rewake.stores.set_back`."""


class Mention(msgspec.Struct, frozen=True):
    """That an event is found at a place of an index, by which a wait looks for it."""

    ref: str
    """The event's, by which its item is found."""
    place: Millis


class Shape(msgspec.Struct, frozen=True):
    """The fields by which events of a name are looked for: they are indexed by those from then."""

    fields: list[str]
    since: Millis


class Subscription(msgspec.Struct, frozen=True, omit_defaults=True):
    """A wait of a run for an event, or with `cancels` that events of this kind cancel the run."""

    run: str
    key: str = ""
    round: int = 0
    since: Millis = 0
    """The first place at which an event may be that it has not missed."""
    had: list[str] = []
    """The marks of the events from there on that its run has had."""
    scans: Millis = 0
    """Up to which place events may not be in the index of its fields, which is younger."""
    fields: str = ""
    """What these must have at its fields, as JSON; empty where the index says all."""
    until: Millis | None = None
    """Its deadline."""
    cancels: bool = False


EventItem = Published | Mention | Shape | Subscription

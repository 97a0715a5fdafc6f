"""Whether anything of a run may begin, as its header says."""

from __future__ import annotations

from rewake.laps import lap_of
from rewake.records import Header
from rewake.states import RunState


def is_paused(header: Header) -> bool:
    """Whether nothing of a run may begin: it is paused, or its holder is asked to pause it."""
    return header.pause or header.state is RunState.PAUSED


def is_delayed(header: Header) -> bool:
    """Whether nobody has had a run yet, and it is to begin at a moment that its starter named."""
    return header.epoch == 0 and header.wake is not None


def is_past(header: Header | None, key: str) -> bool:
    """Whether nobody can want this operation any more: its run is gone, or its lap is over."""
    return header is None or header.lap.number > lap_of(key)


def is_cleared(header: Header | None, key: str) -> bool:
    """Whether it has left nothing: its run is gone, or its lap and the next one are over."""
    return header is None or header.lap.number > lap_of(key) + 1

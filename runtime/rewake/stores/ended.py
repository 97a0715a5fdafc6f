"""The due times of runs that have ended: they are behind all that lives (`stores/removal.py`)."""

from __future__ import annotations

from rewake.records import Header, Millis

ENDED: Millis = 10**15
"""What is added to the due times of ended runs: it is behind the end of time (`records.LATEST`)."""


def removal_due(moment: Millis) -> Millis:
    """The due time of an ended run that is to be removed at this moment."""
    return ENDED + moment


def is_ended_due(due: Millis | None) -> bool:
    """Whether this is the due time of an ended run of which nothing but its removal is left."""
    return due is not None and due >= ENDED


def kept_until(header: Header) -> Millis | None:
    """When an ended run is to be removed, if it is and nobody holds it."""
    if header.hold or header.due is None or header.due < ENDED:
        return None
    return header.due - ENDED


def ended_at(header: Header) -> Millis:
    """When a run ended, if it has: its newest event, or when it was ended from outside."""
    return max(header.created, header.clock, header.changed)

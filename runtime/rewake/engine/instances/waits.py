"""What runs wait for people to decide, as far as this process has read their histories.

An approval is asked for, and seen decided, by entries of the history. A history only grows, so what
was open at some entry need not be looked for again: each look reads what was written since the last
one. The first look at a long run reads it once, a part at a time, unless its instance is here.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from rewake.engine.instances.cache import Cache
from rewake.kinds import Kind
from rewake.records import Completed, Header, Millis, Scheduled, Withdrawn
from rewake.stores.pages import Place
from rewake.stores.reads import Reads

MOST = 1_000
"""Runs of which it is known what they wait for; the one looked at longest ago is dropped first."""


class Waiting(NamedTuple):
    """An approval that is open: what it was asked with, and when."""

    entry: Scheduled
    asked_at: Millis


@dataclass(slots=True)
class _Known:
    """The approvals of a run that are open before a place in its history, in the order asked."""

    created: int
    place: Place
    asked: dict[str, Waiting] = field(default_factory=dict)


class Waits:
    """Which approvals are open. Large values are only named."""

    def __init__(self, store: Reads, cache: Cache) -> None:
        self._store = store
        self._cache = cache
        self._known: OrderedDict[str, _Known] = OrderedDict()

    async def approvals(self, header: Header) -> list[Waiting]:
        """The approvals that are open as of this header, or a later one, in the order asked."""
        if not header.asks:
            return []
        here = self._cache.at(header)
        if here is not None:
            asked = [each for each in here.open.values() if each.kind is Kind.APPROVAL]
            return [Waiting(each.scheduled(), each.asked_at) for each in asked]
        known = self._known.pop(header.run, None)
        if known is None or not _is_of(known, header):
            known = _Known(header.created, Place(round=header.round))
        if known.place.index < header.count:
            # What is read is kept only once it is read whole: two looks may be under way.
            known = await self._read(header, known)
        self._known[header.run] = known
        while len(self._known) > MOST:
            self._known.popitem(last=False)
        return list(known.asked.values())

    async def _read(self, header: Header, known: _Known) -> _Known:
        place, asked, clock = known.place, dict(known.asked), known.place.clock
        parts = self._store.parts(header, place)
        while (part := await parts.next()) is not None:
            for entry in part.entries[max(0, place.index - part.start) :]:
                clock = max(clock, getattr(entry, "clock", 0))
                if isinstance(entry, Scheduled) and entry.kind is Kind.APPROVAL:
                    asked[entry.key] = Waiting(entry, clock)
                elif isinstance(entry, Completed | Withdrawn):
                    asked.pop(entry.key, None)
            begun = part.start + len(part.entries)
            place = Place(begun, part.chunk, part.start, header.round, clock)
        return _Known(header.created, place, asked)


def _is_of(known: _Known, header: Header) -> bool:
    return (known.created, known.place.round) == (header.created, header.round)

"""The place of a reader in a run's stream, and the cursor that says it to others.

It is a place in both sequences (`stores/streams.py`): so many entries behind a chunk of the
history, and the number of the next batch. Any process can go on from it.

A retry cuts the history of its run. What stays of the part that is cut off is what the body logged
and emitted there, in the same order (`engine/runs/retries.py`), so the counts of these only grow. A
place of an earlier round goes back to the cut, and passes over as many as it had been told.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import msgspec

from rewake.errors import InvalidInput
from rewake.noted import LapBegun
from rewake.records import Emitted, Entry, Logged, Millis, Retried, Scheduled, Started
from rewake.stores import cursors
from rewake.stores.keys import is_chunk_place


class Place(msgspec.Struct, array_like=True):
    """Where a reader is. It knows which run it is of, so that no other is read with it."""

    run: int
    round: int = 0
    base: str = ""
    """The newest chunk of which all was read."""
    behind: int = 0
    """How many entries behind that were read."""
    index: int = 0
    """How many entries were read at all."""
    clock: Millis = 0
    """The moment of the newest event among them."""
    items: int = 0
    lines: int = 0
    """How many items and lines of the body there are up to here."""
    known_items: int = 0
    known_lines: int = 0
    """How many of those that come next were told before the history was cut."""
    begun: int = 0
    """How much of what the next entry tells was told."""
    batch: int = 0
    """The number of the next batch."""
    batch_begun: int = 0
    """How much of what that tells was told."""
    state: str = ""
    """The state that was told last."""

    def passes(self, entry: Entry) -> None:
        """Note that an entry was read, which was behind `base`."""
        self.behind += 1
        self.index += 1
        self.begun = 0
        if isinstance(entry, Started):
            self._begins(entry.lap)
        self.clock = max(self.clock, getattr(entry, "clock", 0))

    def _begins(self, lap: LapBegun) -> None:
        """Note that a lap begins: of what was said before it only what it carries is there."""
        self.known_items = max(0, self.known_items - (lap.items - self.items))
        self.known_lines = max(0, self.known_lines - (lap.lines - self.lines))
        self.items, self.lines = lap.items, lap.lines

    def new_items(self, count: int) -> int:
        """Note items of the body. Returns how many of them, from the last, were not told before."""
        self.items += count
        known = min(count, self.known_items)
        self.known_items -= known
        return count - known

    def new_lines(self, count: int) -> int:
        """The same of lines."""
        self.lines += count
        known = min(count, self.known_lines)
        self.known_lines -= known
        return count - known


def first_place(run: str) -> Place:
    """The beginning of a run's stream."""
    return Place(_mark(run))


def cursor_of(place: Place) -> str:
    """A place as a cursor."""
    return cursors.cursor_of(place)


def place_of(run: str, cursor: str) -> Place:
    """The place that a cursor says. Raises `InvalidInput` for one that no reader was given."""
    place = None
    try:
        place = cursors.place_of(cursor, Place)
        counts = [each for each in msgspec.structs.astuple(place) if isinstance(each, int)]
        chunk = not place.base or is_chunk_place(place.base)
        good = chunk and min(counts) >= 0 and max(counts) < 2**53
    except ValueError:
        good = False
    if place is None or not good or place.run != _mark(run):
        raise no_cursor()
    return place


def no_cursor() -> InvalidInput:
    """The error of a reader that comes with a place that it was never given."""
    return InvalidInput("this is no cursor of this run's stream", field="cursor")


def in_cut_history(place: Place, round: int, entries: Sequence[Entry]) -> Place:
    """The place of a reader in a history that was cut since, which has these entries now."""
    index = min(place.index, _cut(place.round, entries))
    moved = Place(place.run, round, behind=index, index=index, state=place.state)
    moved.batch, moved.batch_begun = place.batch, place.batch_begun
    # Only lines can have been told in part.
    lines = place.lines + place.known_lines + place.begun
    for entry in entries[:index]:
        if isinstance(entry, Started):
            moved.items, moved.lines = entry.lap.items, entry.lap.lines
        moved.clock = max(moved.clock, getattr(entry, "clock", 0))
        moved.lines += len(entry.lines) if isinstance(entry, Logged) else 0
        moved.items += is_item(entry)
    moved.known_items = max(0, place.items + place.known_items - moved.items)
    moved.known_lines = max(0, lines - moved.lines)
    return moved


def is_item(entry: Entry) -> bool:
    """Whether the entry is an item that the body emitted."""
    if isinstance(entry, Scheduled):
        return entry.kind.traits.streamed
    return isinstance(entry, Emitted)


def _cut(round: int, entries: Sequence[Entry]) -> int:
    """Where the history goes on otherwise than in this round."""
    for index, entry in enumerate(entries):
        if isinstance(entry, Started | Retried) and entry.round > round:
            return index
    return len(entries)


def _mark(run: str) -> int:
    return zlib.crc32(run.encode())

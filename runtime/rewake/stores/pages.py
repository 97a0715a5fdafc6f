"""A history read forwards, a part at a time, from any place in it.

Each chunk names the one before it, so a history is read whole from its end. Forwards, several
chunks may have the number that comes next: a commit that failed has left its own behind, and so
has what a retried run had before. The one that goes on is that to which the header leads, which is
known as soon as only one of them has chunks behind it. Chunks are numbered without a gap, so a
place in a history is found by the name of the chunk before it, and what is read is bounded by what
is asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec

from rewake.errors import CheckpointUnreadable, InvalidInput
from rewake.records import Chunk, Entry, Header, Millis
from rewake.stores.keys import CHUNKS, chunk_number, chunks_of, is_chunk_place, run_partition
from rewake.stores.table import Table

_AT_ONCE = 16
"""Chunks that are read at once: each has at most 256 KiB."""

Number = Annotated[int, msgspec.Meta(ge=0)]


class Place(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A place in a history, before the entry with the number `index`.

    `chunk` is the sort key of a chunk before it, `start` the number of the first entry behind that
    chunk. `clock` and `where` are what the entries before it leave open: the latest moment, and
    the process of the newest attempt at a step. A retried run has another history (`round`).
    """

    index: Number = 0
    chunk: str = ""
    start: Number = 0
    round: int = 0
    clock: Millis = 0
    where: str = ""


class Part(msgspec.Struct, frozen=True):
    """Entries that stand together, large values only named. `chunk` and `start` are their place:
    the chunk before the first of them, and its number.
    """

    chunk: str
    start: int
    entries: Sequence[Entry]


class Parts:
    """The history of a run from a place on, a part at a time; its first part may begin before that.

    It is the history that the header names, whatever is committed meanwhile.
    """

    def __init__(self, table: Table, header: Header, place: Place) -> None:
        """Raises `InvalidInput` for a place in another history."""
        if place.round != header.round:
            raise InvalidInput(
                "the run was retried since, and has another history: begin at its beginning",
                field="after",
            )
        self._chain = _Chain(table, header, place.chunk)
        self._header = header
        self._start = place.start
        self._from_the_beginning = not place.chunk
        self._is_over = False

    async def next(self) -> Part | None:
        """The next part; None behind the last one.

        Raises `CheckpointUnreadable`, and `InvalidInput` for a place of no such history.
        """
        if self._is_over:
            return None
        header, before, start = self._header, self._chain.name, self._start
        try:
            chunk = await self._chain.next()
        except CheckpointUnreadable:
            if self._from_the_beginning:
                raise
            raise _no_place() from None
        if chunk is not None:
            self._start += len(chunk.entries)
            return Part(before, start, chunk.entries)
        self._is_over = True
        if before == header.base and start + len(header.tail) == header.count:
            return Part(before, start, header.tail)
        if self._from_the_beginning:
            raise CheckpointUnreadable(f"run {header.run!r}: its history has a gap")
        raise _no_place()


class _Chain:
    """The chunks that a header leads to, behind the one of this name (empty: all)."""

    def __init__(self, table: Table, header: Header, name: str) -> None:
        self.name = name
        self._table = table
        self._run = header.run
        self._base = header.base
        self._levels: dict[int, dict[str, Chunk]] = {}
        self._read_to = chunk_number(name)
        self._cursor: str | None = chunks_of(self._read_to + 1)

    async def next(self) -> Chunk | None:
        """The next chunk; None behind the last one."""
        number, last = chunk_number(self.name) + 1, chunk_number(self._base)
        if number > last:
            return None
        leads: dict[str, str] = {}
        for level in range(number, last + 1):
            found = await self._level(level)
            leads = {
                name: leads.get(chunk.previous, name)
                for name, chunk in found.items()
                if (chunk.previous in leads if level > number else chunk.previous == self.name)
            }
            if level == last:
                leads = {name: first for name, first in leads.items() if name == self._base}
            firsts = set(leads.values())
            if len(firsts) <= 1:
                break
        if not leads:
            raise CheckpointUnreadable(f"run {self._run!r}: a chunk {number} is missing")
        [self.name] = set(leads.values())
        return self._levels.pop(number)[self.name]

    async def _level(self, number: int) -> dict[str, Chunk]:
        """All chunks of this number, by name."""
        while self._read_to <= number and self._cursor is not None:
            page = await self._table.query(
                run_partition(self._run), CHUNKS, limit=_AT_ONCE, cursor=self._cursor
            )
            self._cursor = page.cursor
            for key, chunk in page.items:
                self._read_to = chunk_number(key.sort)
                self._levels.setdefault(self._read_to, {})[key.sort] = chunk
        return self._levels.setdefault(number, {})


def check_place(place: Place) -> None:
    """Raise `InvalidInput` for a place that a client has made up."""
    if (place.chunk and not is_chunk_place(place.chunk)) or place.start > place.index:
        raise _no_place()


def _no_place() -> InvalidInput:
    return InvalidInput("it is no place in the history of this run", field="after")

"""A page of what a run logged.

Lines of attempts come first, by operation and attempt, then those of the workflow's own body. Only
so is a page read without the rest: nothing orders the lines of many operations by their time. A
page is in the order of time, and so is the whole log of a run of one page.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from rewake.records import Header, Logged
from rewake.stores.pages import Number, Place
from rewake.stores.reads import Reads
from rewake.streamed import LogBatch, LogLine
from rewake.views.runs import line_view

LOOKED_AT = 20_000
"""Lines and entries that a page looks at, at the most, to be full."""
_AT_ONCE = 32


class LogPlace(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """A place in a log: behind `line` lines of what follows.

    That is the batch behind the one of the sort key `after`, or once there is none, the entry at
    the place `body` of the history.
    """

    line: Number = 0
    after: str | None = None
    body: Place | None = None


class Lines(NamedTuple):
    """Which lines are wanted: of one operation (empty: the body's), of a level, with a text."""

    key: str | None = None
    level: str | None = None
    text: str = ""

    def have(self, line: LogLine) -> bool:
        """Whether a line is wanted."""
        return self.level in (None, line.level) and self.text in line.message


class LogPage(NamedTuple):
    """Lines in the order of time, and where the next page begins: None behind the last one."""

    lines: list[dict[str, Any]]
    place: LogPlace | None


async def log_page(
    store: Reads, header: Header, place: LogPlace, wanted: Lines, limit: int
) -> LogPage:
    """A page of at most `limit` lines. Raises as `Parts.next` does."""
    page = _Page(wanted, limit, place)
    if place.body is None and wanted.key != "":
        await _attempts(store, header, page)
    if page.has_room() and not wanted.key:
        await _body(store, header, page)
    page.found.sort(key=lambda each: each[0])
    next_place = page.place if page.goes_on else None
    return LogPage([shown for _, shown in page.found], next_place)


class _Page:
    """A page as it is filled. `place` is how far it has come; `goes_on`: it ended for want of
    room.
    """

    def __init__(self, wanted: Lines, limit: int, place: LogPlace) -> None:
        self.found: list[tuple[int, dict[str, Any]]] = []
        self.place = place
        self.goes_on = False
        self.wanted = wanted
        self._limit = limit
        self._left = LOOKED_AT

    def has_room(self) -> bool:
        """Whether more lines may come."""
        return not self.goes_on

    def add(self, batch: LogBatch, behind: LogPlace) -> bool:
        """Add lines from where the page is; `behind` is the place behind the last of them.

        False: there is no room for all.
        """
        for number in range(self.place.line, len(batch.lines)):
            if len(self.found) >= self._limit or self._left <= 0:
                self.place = msgspec.structs.replace(self.place, line=number)
                self.goes_on = True
                return False
            self._left -= 1
            line = batch.lines[number]
            if self.wanted.have(line):
                about = {"key": batch.key, "attempt": batch.attempt}
                self.found.append((line.at, {**about, **line_view(line)}))
        self.place = behind
        return True

    def look(self) -> bool:
        """Look at an entry without lines; False: it is enough."""
        self._left -= 1
        self.goes_on = self._left <= 0
        return not self.goes_on


async def _attempts(store: Reads, header: Header, page: _Page) -> None:
    cursor: str | None = page.place.after
    while True:
        found = await store.batches(header, page.wanted.key, limit=_AT_ONCE, cursor=cursor)
        for key, batch in found.items:
            if not page.add(batch, LogPlace(0, key.sort)):
                return
        cursor = found.cursor
        if cursor is None:
            return


async def _body(store: Reads, header: Header, page: _Page) -> None:
    begin = page.place.body or Place(round=header.round)
    line = page.place.line if page.place.body is not None else 0
    page.place = LogPlace(line, None, begin)
    parts = store.parts(header, begin)
    while (part := await parts.next()) is not None:
        for index, entry in enumerate(part.entries, part.start):
            if index < begin.index:
                continue
            here = Place(index + 1, part.chunk, part.start, header.round)
            behind = LogPlace(0, None, here)
            if isinstance(entry, Logged):
                if not page.add(LogBatch(header.run, "", 1, entry.lines), behind):
                    return
            else:
                page.place = behind
                if not page.look():
                    return

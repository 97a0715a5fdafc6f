"""A page of a run's history for people, and of its operations.

A page reads its own entries, the items of the operations that they ask for, and a bounded number
of entries behind them (`AHEAD`): what an operation came to often stands soon after it was asked
for. What stands further away is on the page that has it: there the operation is among the
`changed` ones, and who reads all pages lets the last word on a key stand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from rewake.kinds import Kind
from rewake.noted import Try
from rewake.records import (
    Completed,
    Emitted,
    Entry,
    Finished,
    Fired,
    Header,
    Operation,
    Scheduled,
    Signalled,
    Started,
    Stepped,
    Withdrawn,
)
from rewake.stores.pages import Part, Place
from rewake.stores.reads import FEW, Reads
from rewake.views.moments import moment, moment_or_none
from rewake.views.timeline import ENDED, OperationView, Reading
from rewake.views.values import Values

AHEAD = 1_000
"""Entries that are read behind a page, at the most, for how its operations ended."""
LOOKED_AT = 5_000
"""Entries that a page of operations looks at, at the most, to be full."""
MOST_BYTES = 4 * 1024 * 1024
"""Bytes of values after which a page ends."""


class Only(NamedTuple):
    """Which operations are wanted: of a kind, below a key, with this text in their key."""

    kind: Kind | None = None
    under: str = ""
    text: str = ""

    def has(self, key: str, kind: Kind) -> bool:
        """Whether an operation is wanted."""
        if self.kind not in (None, kind) or self.text not in key:
            return False
        return not self.under or key == self.under or key.startswith(_below(self.under))


def _below(key: str) -> tuple[str, ...]:
    return (f"{key}/", f"{key}[")


class ChangedView(msgspec.Struct, omit_defaults=True):
    """What a page says of an operation that an earlier page has, or that no page has yet."""

    key: str
    state: str
    ended: str | None = None
    due: str | None = None
    name: str = ""


class HistoryPage(NamedTuple):
    """A page. `place`: where the next one begins. `more`: whether there is something there now."""

    entries: list[dict[str, Any]]
    operations: list[OperationView]
    changed: list[ChangedView]
    place: Place
    more: bool


class Asked(NamedTuple):
    """What a page is wanted of. Without `values` none is read.

    `entries` is how many it may have, `operations` how many operations that are wanted (`only`).
    `running` and `elsewhere` are as for `timeline`.
    """

    entries: int
    operations: int = 0
    only: Only = Only()
    values: Values | None = None
    running: Mapping[str, tuple[str, Try]] = {}
    elsewhere: str = ""


async def history_page(store: Reads, header: Header, place: Place, asked: Asked) -> HistoryPage:
    """A page of a run's history, from a place on. Raises as `Pages.parts` does."""
    page, parts = _Page(store, header, place, asked), store.parts(header, place)
    while (part := await parts.next()) is not None:
        if not await page.read(part):
            return page.made()
    return page.made(at_end=True)


async def one_operation(
    store: Reads, header: Header, place: Place, key: str, asked: Asked
) -> OperationView | None:
    """One operation, which is looked for from a place on; None if it is not there.

    No more is kept than that one. It is looked for to the end of the history if it is open, for
    only there is it known that it is. Raises as `Parts.next` does.
    """
    page, parts = _Page(store, header, place, asked), store.parts(header, place)
    while (part := await parts.next()) is not None:
        if await page.find(part, key):
            break
    return page.found(key)


class _Page:
    """A page as it is read."""

    def __init__(self, store: Reads, header: Header, place: Place, asked: Asked) -> None:
        self._store = store
        self._header = header
        self._asked = asked
        self._begin = place.index
        self._reading = Reading(asked.values, place.index)
        self._reading.tries.clock, self._reading.tries.where = place.clock, place.where
        self._changed: dict[str, ChangedView] = {}
        self._skipped: set[str] = set()
        self._place = msgspec.structs.replace(place, round=header.round)
        self._bytes = 0
        self._found = 0
        self._is_full = False
        self._ahead = 0

    async def read(self, part: Part) -> bool:
        """Read a part of the history; False: no more need be read."""
        begin = max(0, self._place.index - part.start)
        for first in range(begin, len(part.entries), FEW):
            await self._read_few(part, first)
            if self._is_full and (self._ahead >= AHEAD or not self._unsettled()):
                return False
        return True

    async def _read_few(self, part: Part, first: int) -> None:
        few = part.entries[first : first + FEW]
        if not self._is_full:
            await self._fetch(few)
        for index, entry in enumerate(few, part.start + first):
            if self._is_full:
                self._ahead += 1
                self._reading.read_ahead(entry)
                continue
            await self._read(entry)
            tries = self._reading.tries
            about = (self._header.round, tries.clock, tries.where)
            self._place = Place(index + 1, part.chunk, part.start, *about)
            self._is_full = self._full()

    async def find(self, part: Part, key: str) -> bool:
        """Read a part for one operation alone; True: no more need be read."""
        operations = self._reading.operations
        for entry in part.entries[max(0, self._begin - part.start) :]:
            if isinstance(entry, Scheduled) and entry.key == key and key not in operations:
                await self._fetch([entry])
                await self._read(entry)
                continue
            self._reading.read_ahead(entry)
            if getattr(entry, "key", "") == key and _closes(entry):
                return True
        return False

    def found(self, key: str) -> OperationView | None:
        """The operation that was looked for."""
        if key in self._asked.running:
            self._reading.go_on(key, *self._asked.running[key])
        if self._asked.elsewhere:
            self._reading.go_on_elsewhere(self._asked.elsewhere)
        return self._reading.operations.get(key)

    async def _fetch(self, entries: Sequence[Entry]) -> None:
        """Fetch the items of the operations that these entries are about."""
        asked = [each for each in entries if isinstance(each, Scheduled) and _has_item(each)]
        steps = [each.key for each in asked if each.kind.traits.inline]
        keys = [each.key for each in asked if not each.kind.traits.inline]
        keys += [each.key for each in entries if isinstance(each, Completed)]
        items = self._reading.items
        for found, read in ((steps, self._store.steps), (keys, self._store.operations)):
            wanted = [key for key in dict.fromkeys(found) if key not in items]
            for begin in range(0, len(wanted), FEW):
                items.update(await read(self._header.run, wanted[begin : begin + FEW]))

    async def _read(self, entry: Entry) -> None:
        reading = self._reading
        if isinstance(entry, Scheduled) and not self._asked.only.has(entry.key, entry.kind):
            self._skipped.add(entry.key)
            reading.read_ahead(entry)
            return
        if self._asked.values is not None:
            entry = await self._whole(entry)
        known = reading.operations.keys()
        key = getattr(entry, "key", "")
        reading.read(entry)
        if isinstance(entry, Scheduled):
            self._found += entry.key in reading.operations
        elif key and key not in known and key not in self._skipped:
            self._change(entry)

    async def _whole(self, entry: Entry) -> Entry:
        """The entry, and the item of what it asks for, with their values."""
        whole = await self._store.restored(self._header.run, entry)
        self._bytes += _size(whole)
        items = self._reading.items
        if isinstance(entry, Scheduled) and entry.key in items:
            item = items[entry.key] = await self._store.with_result(items[entry.key])
            self._bytes += _size(item)
        return whole

    def _change(self, entry: Entry) -> None:
        """Note what an entry says of an operation that is not on this page."""
        found = _changed(entry, self._reading)
        if found is not None and self._asked.only.has(found[0].key, found[1]):
            self._changed[found[0].key] = found[0]

    def _full(self) -> bool:
        asked = self._asked
        return (
            self._place.index - self._begin >= asked.entries
            or self._bytes > MOST_BYTES
            or bool(asked.operations and self._found >= asked.operations)
        )

    def _unsettled(self) -> bool:
        """Whether an operation is open here of which only the history says how it ended."""
        return any(
            view.ended is None and not view.kind.traits.awaited
            for view in self._reading.operations.values()
        )

    def made(self, *, at_end: bool = False) -> HistoryPage:
        """The page. `at_end`: the history was read to its end."""
        reading, more = self._reading, self._place.index < self._header.count
        self._go_on(more)
        if self._asked.elsewhere and at_end:  # else what is open here may have ended since
            reading.go_on_elsewhere(self._asked.elsewhere)
        operations = list(reading.operations.values())
        changed = list(self._changed.values())
        return HistoryPage(reading.entries, operations, changed, self._place, more)

    def _go_on(self, more: bool) -> None:
        """Add the attempts at steps that go on, which no history has yet."""
        reading = self._reading
        for key, (name, attempt) in self._asked.running.items():
            if not self._asked.only.has(key, Kind.STEP):
                continue
            if key in reading.operations or (not more and self._begin == 0):
                reading.go_on(key, name, attempt)
            elif not more:
                self._changed[key] = ChangedView(key, "running", name=name)


def _changed(entry: Entry, reading: Reading) -> tuple[ChangedView, Kind] | None:
    """What an entry says of an operation that is not on this page, and its kind."""
    clock = reading.tries.clock
    match entry:
        case Completed():
            item = reading.items.get(entry.key)
            if item is None or item.outcome is None:
                return None
            ended = ChangedView(entry.key, ENDED[item.outcome.kind], moment_or_none(item.at))
            return ended, item.kind
        case Stepped() if entry.retry_at is not None:
            return ChangedView(entry.key, "retrying", due=moment(entry.retry_at)), Kind.STEP
        case Stepped():
            ended = ChangedView(entry.key, ENDED[entry.outcome.kind], moment(entry.ended))
            return ended, entry.kind
        case Fired(kind=kind) if kind.traits.inline:
            return None
        case Fired() | Signalled():
            return ChangedView(entry.key, ENDED[entry.outcome.kind], moment(clock)), entry.kind
        case Withdrawn():
            return ChangedView(entry.key, "withdrawn", moment(clock)), entry.kind
        case _:
            return None


def _closes(entry: Entry) -> bool:
    """Whether no later entry says more of the operation that this one is about."""
    if isinstance(entry, Stepped):
        return entry.retry_at is None
    if isinstance(entry, Fired):
        return not entry.kind.traits.inline
    return isinstance(entry, Completed | Signalled | Withdrawn)


def _has_item(entry: Scheduled) -> bool:
    """Whether an operation may have an item of its own: no timer, and nothing that ends at once."""
    traits = entry.kind.traits
    return not (traits.at_once or traits.fires)


def _size(of: Entry | Operation) -> int:
    """The bytes of the values in it."""
    if isinstance(of, Scheduled | Started):
        values = [of.args]
    elif isinstance(of, Stepped | Finished):
        values = [of.outcome.value]
    elif isinstance(of, Operation):
        values = [of.outcome.value if of.outcome is not None else None]
    elif isinstance(of, Emitted | Signalled):
        values = [of.value]
    else:
        values = []
    return sum(len(bytes(each.body)) for each in values if each is not None)

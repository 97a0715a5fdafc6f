"""The audit log as it is stored: some series beside each other, read as one.

What is done often must not push out what is done seldom: that an admin made a token is worth more
than that a machine started one more of a million runs. And whoever is turned away must not be able
to make anybody's traces disappear by being turned away often. So each scope has a series of its
own, and what was refused or failed has one for those that were recognised, and one for strangers.
"""

from __future__ import annotations

import heapq
from typing import NamedTuple

from rewake.access import Scope
from rewake.ledger import Audited
from rewake.records import Millis
from rewake.stores.blobs import Again
from rewake.stores.series import Bounds, Series
from rewake.stores.table import Table

BOUNDS = Bounds(items=20_000, age=90 * 86_400_000)
"""Of each series."""
REFUSED, STRANGERS = "refused", "strangers"
SERIES = (Scope.START, Scope.DECIDE, Scope.OPERATE, Scope.ADMIN, REFUSED, STRANGERS)
"""The series, by the last part of their partitions."""
LOOKED_AT = 2_000
"""How many entries one page looks at, at the most, to be full."""
_STEP = 100
_DIGITS = 12


class Wanted(NamedTuple):
    """Which entries are wanted: of this principal, about this run, made then or later."""

    who: str | None = None
    run: str | None = None
    since: Millis = 0

    def has(self, entry: Audited) -> bool:
        """Whether the entry is among them."""
        return (
            self.who in (None, entry.who)
            and self.run in (None, entry.run)
            and entry.at >= self.since
        )


class AuditPage(NamedTuple):
    """Entries, newest first, and from where to go on (None: there is no more)."""

    entries: list[Audited]
    cursor: str | None


class Audit:
    """The audit log of one table."""

    def __init__(self, table: Table, again: Again, bounds: Bounds = BOUNDS) -> None:
        self._series = {
            name: Series(table, again, f"A#{name}", "A", bounds) for name in map(str, SERIES)
        }
        self.written = 0
        """How many entries this process has written."""

    async def append(self, entry: Audited, scope: Scope) -> None:
        """Write an entry about something that needs this scope."""
        name = str(scope) if entry.status < 400 else REFUSED if entry.who else STRANGERS
        self.written += 1
        await self._series[name].append(entry)

    async def page(self, wanted: Wanted, *, limit: int, cursor: str | None = None) -> AuditPage:
        """A page of the entries that are wanted, newest first. Raises `ValueError` for a cursor."""
        reading = _Reading(self._series, _places(cursor))
        entries: list[Audited] = []
        for _ in range(LOOKED_AT):
            if len(entries) == limit:
                break
            entry = await reading.next(wanted.since)
            if entry is None:
                return AuditPage(entries, None)
            if wanted.has(entry):
                entries.append(entry)
        return AuditPage(entries, reading.cursor())

    async def refusals(self, run: str, about: str) -> list[Audited]:
        """What was refused to whoever was recognised, about one thing of a run; oldest first.

        Of the newest `LOOKED_AT` refusals of all.
        """
        found, number = list[Audited](), None
        for _ in range(LOOKED_AT // _STEP):
            entries = await self._series[REFUSED].before(number, _STEP)
            found += [entry for _, entry in entries if (entry.run, entry.about) == (run, about)]
            if len(entries) < _STEP:
                break
            number = entries[-1][0]
        return found[::-1]

    async def trim(self, now: Millis, limit: int) -> bool:
        """Remove what is over the bounds, a few entries of each series. Whether more may be."""
        more = [await each.trim(now, limit) for each in self._series.values()]
        return any(more)


class _Reading:
    """A pass through all series at once, newest first. `places`: the last numbers that it read."""

    def __init__(self, series: dict[str, Series], places: dict[str, int]) -> None:
        self._series = series
        self._places = places
        self._ahead: list[tuple[Millis, str, int, Audited]] = []
        self._read: dict[str, list[tuple[int, Audited]]] = {}

    async def next(self, since: Millis) -> Audited | None:
        """The next entry; None if there is no more that was made then or later."""
        if not self._read:
            for name in self._series:
                await self._step(name)
        if not self._ahead:
            return None
        at, name, number, entry = heapq.heappop(self._ahead)
        if -at < since:
            return None
        self._places[name] = number
        await self._step(name)
        return entry

    async def _step(self, name: str) -> None:
        """Have the next entry of a series ahead, if there is one."""
        if not self._read.get(name):
            found = await self._series[name].before(self._places.get(name), _STEP)
            self._read[name] = found[::-1]
        if self._read[name]:
            number, entry = self._read[name].pop()
            heapq.heappush(self._ahead, (-entry.at, name, number, entry))

    def cursor(self) -> str:
        """From where to go on."""
        return ".".join(str(self._places.get(name, "")) for name in self._series)


def _places(cursor: str | None) -> dict[str, int]:
    """The numbers that were read last, by series. Raises `ValueError`."""
    if cursor is None:
        return {}
    numbers = cursor.split(".")
    fit = all(n == "" or (n.isdecimal() and len(n) <= _DIGITS) for n in numbers)
    if len(numbers) != len(SERIES) or not fit:
        raise ValueError("this is no cursor of the audit log")
    return {str(name): int(n) for name, n in zip(SERIES, numbers, strict=True) if n}

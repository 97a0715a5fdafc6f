"""The audit log as it is stored: some series beside each other, read as one.

What is done often must not push out what is done seldom: that an admin made a token is worth more
than that a machine started one more of a million runs. And whoever is turned away must not be able
to make anybody's traces disappear by being turned away often. So each scope has a series of its
own, and what was refused or failed has one for those that were recognised, and one for strangers.
"""

from __future__ import annotations

from typing import NamedTuple

from rewake.access import Scope
from rewake.ledger import Audited
from rewake.records import Millis
from rewake.stores.beside import Beside
from rewake.stores.blobs import Again
from rewake.stores.series import Bounds
from rewake.stores.table import Table

BOUNDS = Bounds(items=20_000, age=90 * 86_400_000)
"""Of each series."""
REFUSED, STRANGERS = "refused", "strangers"
SERIES = (Scope.START, Scope.READ, Scope.DECIDE, Scope.OPERATE, Scope.ADMIN, REFUSED, STRANGERS)
"""The series, by the last part of their partitions."""


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


class Audit(Beside):
    """The audit log of one table."""

    def __init__(self, table: Table, again: Again, bounds: Bounds = BOUNDS) -> None:
        series = [(str(name), bounds) for name in SERIES]
        super().__init__(table, again, "A", series, "the audit log")

    async def append(self, entry: Audited, scope: Scope) -> None:
        """Write an entry about something that needs this scope."""
        name = str(scope) if entry.status < 400 else REFUSED if entry.who else STRANGERS
        await self.add(name, entry)

    async def page(self, wanted: Wanted, *, limit: int, cursor: str | None = None) -> AuditPage:
        """A page of the entries that are wanted, newest first. Raises `ValueError` for a cursor."""
        found = await self.select(wanted.has, since=wanted.since, limit=limit, cursor=cursor)
        return AuditPage([each.item for each in found.items], found.cursor)

    async def refusals(self, run: str, about: str) -> list[Audited]:
        """What was refused to whoever was recognised, about one thing of a run; oldest first.

        Of the newest `LOOKED_AT` refusals of all.
        """
        return [
            entry
            for entry in await self.newest(REFUSED)
            if (entry.run, entry.about) == (run, about)
        ][::-1]

"""Schedules as they are stored: one small item each, which is due when its next run is.

So what is due is found by the index that finds all that is due, and what is not is never read.
Every write is fenced by the mark of the one before: of two processes that act on one, one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from rewake.ledger import Schedule
from rewake.stores.blobs import Again
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.table import Check, Table


class SchedulePage(NamedTuple):
    """Schedules, and the cursor of the next page (None: there is none)."""

    schedules: list[Schedule]
    cursor: str | None


class Schedules:
    """The schedules of one table. `again` repeats a call if the table does not say how it went."""

    def __init__(self, table: Table, layout: Layout, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._again = again

    async def find(self, name: str) -> Schedule | None:
        """The schedule of this name, None if there is none (any more)."""
        key = self._layout.schedule(name)
        found: Schedule | None = await self._again(lambda: self._table.get(key))
        return found

    async def create(self, made: Schedule) -> Schedule:
        """Keep a new schedule. Returns the one that stands there now: another, perhaps."""
        key = self._layout.schedule(made.name)
        written = await self._again(lambda: self._table.put(key, made, absent=True))
        stands: Schedule = written.item
        return stands

    async def change(
        self, seen: Schedule, mark: str, changes: Mapping[str, Any]
    ) -> Schedule | None:
        """Change a schedule that is as it was `seen`; None: it is not any more.

        `mark`: of this write, by which it is recognised where it was reported as failed.
        """
        key, new = self._layout.schedule(seen.name), {**changes, "mark": mark}
        same = [[Check("mark", "=", seen.mark)]]
        written = await self._again(lambda: self._table.update(key, when=same, set=new))
        found: Schedule | None = written.item
        return found if written.ok or (found is not None and found.mark == mark) else None

    async def remove(self, seen: Schedule) -> bool:
        """Remove a schedule that is as it was `seen`. Returns whether none is there now."""
        key, same = self._layout.schedule(seen.name), [[Check("mark", "=", seen.mark)]]
        await self._again(lambda: self._table.delete([key], when=same))
        return await self.find(seen.name) is None

    async def page(self, *, limit: int, cursor: str | None) -> SchedulePage:
        """A page of the schedules, by name."""
        page = await merged(self._table, self._layout.schedules, "Z#", limit=limit, cursor=cursor)
        return SchedulePage([found for _, found in page.items], page.cursor)

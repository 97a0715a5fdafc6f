"""The views of runs: one for each, newest first, by which runs are listed.

They are spread by day and by run where one partition would not take all (`stores/layout.py`).
"""

from __future__ import annotations

from rewake.ledger import Day, View
from rewake.stores.blobs import Again
from rewake.stores.keys import CHILDREN, DAY, DAYS, VIEWS, day_key, days_before
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.table import Page, Table

_AT_ONCE = 32
"""So many days are read at once: most lists end on the first of them."""


class Views:
    """The views of one table. `again` repeats a call if the table does not say how it went."""

    def __init__(self, table: Table, layout: Layout, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._again = again
        self._noted: set[int] = set()

    async def put(self, view: View) -> None:
        """Keep a run's view. Its day comes first: no list would find a view without it."""
        if self._layout.shards > 1:
            await self._note(view.created // DAY)
        place = self._layout.view(view)
        await self._again(lambda: self._table.put(place, view))

    async def remove(self, view: View) -> None:
        """Remove a run's view; a missing one is no error."""
        place = self._layout.view(view)
        await self._again(lambda: self._table.delete([place]))

    async def page(self, *, limit: int, cursor: str | None, children: bool = False) -> Page:
        """A page of views, newest first. A cursor is the sort key of a view, or stands behind it.

        `children`: also those of the runs that runs have begun. It may have a cursor although
        nothing follows, as any table's page may.
        """
        lists = [VIEWS, CHILDREN] if children else [VIEWS]
        if self._layout.shards == 1:
            return await merged(self._table, lists, limit=limit, cursor=cursor)
        page, since = Page([], None), None if cursor is None else days_before(cursor)
        while True:
            days = await self._table.query(DAYS, limit=_AT_ONCE, cursor=since)
            for _, day in days.items:
                partitions, left = self._layout.views(day.day, lists), limit - len(page.items)
                more = await merged(self._table, partitions, limit=left, cursor=cursor)
                page = Page([*page.items, *more.items], more.cursor)
                if len(page.items) == limit:
                    return page
            since = days.cursor
            if since is None:
                return Page(page.items, None)

    async def _note(self, day: int) -> None:
        """Note that runs are started on this day, once; most often another process has."""
        if day in self._noted:
            return
        place = day_key(day)
        if await self._again(lambda: self._table.get(place)) is None:
            await self._again(lambda: self._table.put(place, Day(day)))
        if len(self._noted) > _AT_ONCE:
            self._noted.clear()
        self._noted.add(day)

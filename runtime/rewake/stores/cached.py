"""Results of tasks that are cached: each stands in the item of its limit, which decides.

A large value is on the shelf, in a place of its own. Of a result that was replaced, or is over, it
goes with the next that is kept there, or with the item; a look that meets such a moment takes what
is missing for nothing, and the task is carried out.

A run notes what is cached of it before that is kept, so that it goes with the run.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rewake.encoded import Value
from rewake.errors import CheckpointUnreadable
from rewake.ledger import Cached, Kept, Limit
from rewake.stores.blobs import Again, Blobs
from rewake.stores.keys import cached_key
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.shelf import Shelf
from rewake.stores.table import Check, Table

_FEW = 25


class CachedResults:
    """The cached results of one table. `again` repeats a call whose end is not known."""

    def __init__(
        self, table: Table, shelf: Shelf, layout: Layout, blobs: Blobs, again: Again
    ) -> None:
        self._table = table
        self._shelf = shelf
        self._layout = layout
        self._blobs = blobs
        self._again = again

    async def page(self, *, limit: int, cursor: str | None) -> tuple[list[Limit], str | None]:
        """A page of all that is cached, or is being made to be, by id, and the next cursor."""
        page = await merged(self._table, self._layout.cached, "F#", limit=limit, cursor=cursor)
        return [found for _, found in page.items], page.cursor

    async def value(self, id: str, kept: Kept) -> Value | None:
        """The whole value of what is kept; None if it is there no more."""
        try:
            return await self._blobs.resolve(_place(id), kept.value)
        except CheckpointUnreadable:
            return None

    async def put(self, id: str, kept: Kept) -> Kept:
        """Put away what is to be kept: its note, and its value if that is large."""
        note = Cached(kept.run, id)
        await self._again(lambda: self._table.put(cached_key(kept.run, id), note))
        value = await self._blobs.offload(_place(id), kept.value)
        assert value is not None
        if value.blob:  # its run may have gone meanwhile, with the note
            await self._again(lambda: self._table.put(cached_key(kept.run, id), note))
        return msgspec.structs.replace(kept, value=value)

    async def drop(self, found: Limit) -> None:
        """Remove what belongs to an item that goes, or keeps nothing more."""
        if found.kept is None or found.kept.value.blob:
            await self._drop_values(found.id)
        if found.kept is not None:
            note = cached_key(found.kept.run, found.id)
            await self._again(lambda: self._table.delete([note]))

    async def _drop_values(self, id: str) -> None:
        while await self._again(lambda: self._shelf.delete_blobs(_place(id), limit=_FEW)):
            pass

    async def forget(self, id: str, run: str, mark: Callable[[], str]) -> None:
        """Keep no more what is of this run, nor what another process is about to keep of it."""
        while found := await self.find(id):
            holders = [each for each in found.holders if each.run == run]
            if not holders and (found.kept is None or found.kept.run != run):
                return
            since = max((each.since for each in holders), default=0)
            if await self.clear(found, mark(), max(found.cleared, since)):
                return
        await self._drop_values(id)

    async def clear(self, found: Limit, mark: str, cleared: int) -> bool:
        """Keep nothing of a task; nor, once it is `cleared`, what was begun before. False: it has
        changed since it was read.
        """
        where, same = self._layout.limit(found.id), [[Check("mark", "=", found.mark)]]
        if not (found.holders or found.waits):
            await self.drop(found)
            await self._again(lambda: self._table.delete([where], when=same))
            return await self.find(found.id) is None
        new = {"kept": None, "cleared": cleared, "mark": mark}
        written = await self._again(lambda: self._table.update(where, when=same, set=new))
        after: Limit | None = written.item
        if not (written.ok or after is None or after.mark == mark):
            return False
        await self.drop(found)
        return True

    async def find(self, id: str) -> Limit | None:
        """What is cached by this id, and who makes it."""
        found: Limit | None = await self._again(lambda: self._table.get(self._layout.limit(id)))
        return found


def _place(id: str) -> str:
    """Where the large values are: no run's id has a `~`."""
    return f"~{id}"

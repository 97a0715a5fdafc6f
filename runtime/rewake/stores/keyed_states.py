"""Keyed states in the store: one item each, which decides by its mark."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import WeakValueDictionary

import msgspec

from rewake.keyed import State
from rewake.stores.blobs import Again
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.named import state_sort
from rewake.stores.table import Check, Key, Page, Table


class KeyedStates:
    """The keyed states of one table. `again` repeats a call whose end is not known."""

    def __init__(self, table: Table, layout: Layout, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._again = again
        self._alone = WeakValueDictionary[tuple[object, Key], asyncio.Lock]()

    async def find(self, at: State) -> State | None:
        """The state of this name, key and tenant; None: there is none."""
        place = self._layout.state(at)
        found: State | None = await self._again(lambda: self._table.get(place))
        return found

    async def page(self, tenant: str, name: str, *, limit: int, cursor: str | None) -> Page:
        """A page of the states of a tenant, by name and key. `name`: only those; empty: all."""
        prefix = state_sort(tenant, name) if name else state_sort(tenant)
        return await merged(self._table, self._layout.states, prefix, limit=limit, cursor=cursor)

    async def change(self, at: State, change: Callable[[State], State | None], mark: str) -> State:
        """Change a state, again for as long as others change it. Returns it as it then is.

        `change` is given the state and returns another one, or None to leave it; `mark` tells the
        write again, where nobody knows whether it was made.
        """
        place = self._layout.state(at)
        lock = self._alone.setdefault((asyncio.get_running_loop(), place), asyncio.Lock())
        while True:
            async with lock:  # one after the other of this event loop: else they would only meet
                found = await self.find(at)
                if found is not None and found.mark == mark:
                    return found
                before = found or State(at.name, at.key, at.tenant)
                after = change(msgspec.structs.replace(before))
                if after is None:
                    return before
                made = msgspec.structs.replace(after, mark=mark)
                if await self._put(found, made):
                    return made

    async def remove(self, state: State) -> bool:
        """Remove a state, if it is still so."""
        place, same = self._layout.state(state), [[Check("mark", "=", state.mark)]]
        await self._again(lambda: self._table.delete([place], when=same))
        return await self.find(state) is None

    async def _put(self, found: State | None, made: State) -> bool:
        place = self._layout.state(made)
        if found is None:
            written = await self._again(lambda: self._table.put(place, made, absent=True))
        else:
            changes = msgspec.structs.asdict(made)
            same = [[Check("mark", "=", found.mark)]]
            written = await self._again(lambda: self._table.update(place, when=same, set=changes))
        item: State | None = written.item
        return bool(written.ok or (item is not None and item.mark == made.mark))

"""Keyed states in the store: one item each, which decides by its mark."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from rewake.keyed import State
from rewake.stores.blobs import Again
from rewake.stores.keys import state_key
from rewake.stores.table import Check, Table


class KeyedStates:
    """The keyed states of one table. `again` repeats a call whose end is not known."""

    def __init__(self, table: Table, again: Again) -> None:
        self._table = table
        self._again = again

    async def find(self, name: str, key: str) -> State | None:
        """A state; None: there is none."""
        found: State | None = await self._again(lambda: self._table.get(state_key(name, key)))
        return found

    async def change(
        self, name: str, key: str, change: Callable[[State], State | None], mark: str
    ) -> State:
        """Change a state, again for as long as others change it. Returns it as it then is.

        `change` is given the state and returns another one, or None to leave it; `mark` tells the
        write again, where nobody knows whether it was made.
        """
        while True:
            found = await self.find(name, key)
            if found is not None and found.mark == mark:
                return found
            before = found or State(name, key)
            after = change(msgspec.structs.replace(before))
            if after is None:
                return before
            made = msgspec.structs.replace(after, mark=mark)
            if await self._put(found, made):
                return made

    async def remove(self, state: State) -> bool:
        """Remove a state, if it is still so."""
        place, same = state_key(state.name, state.key), [[Check("mark", "=", state.mark)]]
        await self._again(lambda: self._table.delete([place], when=same))
        return await self.find(state.name, state.key) is None

    async def _put(self, found: State | None, made: State) -> bool:
        place = state_key(made.name, made.key)
        if found is None:
            written = await self._again(lambda: self._table.put(place, made, absent=True))
        else:
            changes = msgspec.structs.asdict(made)
            same = [[Check("mark", "=", found.mark)]]
            written = await self._again(lambda: self._table.update(place, when=same, set=changes))
        item: State | None = written.item
        return bool(written.ok or (item is not None and item.mark == made.mark))

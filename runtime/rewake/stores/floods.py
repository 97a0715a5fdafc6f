"""How many alerts of a hook were told of late, so that a flood of them is cut.

What is found by looking is looked for by one process at a time, while it lives: else each would
count what another has told, or left out.
"""

from __future__ import annotations

from rewake.ledger import Flood
from rewake.records import Millis
from rewake.stores.blobs import Again
from rewake.stores.keys import flood_key
from rewake.stores.table import Check, Table, Written

_TRIES = 8
LOOKERS = "looks for "
"""Begins the name of an item that says who looks."""


class Floods:
    """The counts of one table. `again` repeats a call if the table does not say how it went."""

    def __init__(self, table: Table, again: Again) -> None:
        self._table = table
        self._again = again

    async def count(self, name: str, window: int, most: int) -> Flood:
        """Count one more in this window. Returns the count, with what was left out before it."""
        for _ in range(_TRIES):
            written = await self._add(name, window)
            if written.ok:
                found: Flood = written.item
                return found if found.told == 1 else Flood(name, window, found.told)
            before: Flood = written.item or Flood(name)
            # What the window before had left out is told by the first of this one.
            new = Flood(name, window, 1, max(0, before.told - most))
            if await self._begin(new, before):
                return new
        return Flood(name, window, most + 1)

    async def is_looker(self, what: str, process: str, now: Millis, lease: Millis) -> bool:
        """Whether this process looks for `what` is told, and for a lease the others do not."""
        key = flood_key(f"{LOOKERS}{what}")
        found: Flood | None = await self._again(lambda: self._table.get(key))
        before = found or Flood("")
        # What is further away than a lease was written before the clock was set back.
        if before.looker != process and 0 < before.until - now <= lease:
            return False
        same = [Check("looker", "=", before.looker), Check("until", "=", before.until)]
        written = await self._again(
            lambda: self._table.update(
                key,
                when=[same if found is not None else [Check("name", "absent")]],
                set={"looker": process, "until": now + lease},
                create=Flood(f"{LOOKERS}{what}"),
            )
        )
        after: Flood | None = written.item
        return after is not None and after.looker == process

    async def _add(self, name: str, window: int) -> Written:
        key, same = flood_key(name), [[Check("window", "=", window)]]
        return await self._again(lambda: self._table.update(key, when=same, add={"told": 1}))  # type: ignore[no-any-return]

    async def _begin(self, new: Flood, before: Flood) -> bool:
        """Begin a window, unless another process has."""
        key, first = flood_key(new.name), {"window": new.window, "told": 1, "left": new.left}
        same = [[Check("window", "=", before.window)]]
        if before.window < 0:
            same = [[Check("window", "absent")]]
        blank = Flood(new.name)
        written = await self._again(
            lambda: self._table.update(key, when=same, set=first, create=blank)
        )
        return bool(written.ok)

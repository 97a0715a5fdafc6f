"""How often the pages of approvals were looked at: one small item each, beside its run.

It is a number for people, and nothing follows from it. So a write that may have failed is not
repeated: it could be counted twice, and that it is lost does not matter.
"""

from __future__ import annotations

from rewake.ledger import Seen
from rewake.stores.blobs import Again
from rewake.stores.keys import seen_key
from rewake.stores.table import Table


class SeenPages:
    """The counters of one table."""

    def __init__(self, table: Table, again: Again) -> None:
        self._table = table
        self._again = again

    async def of(self, run: str, key: str) -> Seen | None:
        """How often the page of this approval was looked at; None: never."""
        found: Seen | None = await self._again(lambda: self._table.get(seen_key(run, key)))
        return found

    async def add(self, run: str, key: str, seen: Seen) -> None:
        """Count some more looks."""
        blank = Seen(seen.first)
        more, last = {"times": seen.times}, {"last": seen.last}
        await self._table.update(seen_key(run, key), set=last, add=more, create=blank)

"""Whether a table keeps what it is given: one item that is written, read and deleted."""

from __future__ import annotations

from pathlib import Path

from rewake.ledger import Counter
from rewake.stores.keys import counter_key
from rewake.stores.table import Table

_SERIES = "A#trial-"


class Trial:
    """Tries a table out."""

    def __init__(self, table: Table) -> None:
        self._table = table

    @property
    def size(self) -> int | None:
        """How many bytes the table has on this machine; None: none, or it does not say."""
        found: int | None = getattr(self._table, "size", None)
        return found

    @property
    def folder(self) -> Path | None:
        """Where on this machine it is; None: nowhere, or it does not say."""
        found: Path | None = getattr(self._table, "folder", None)
        return found

    async def round_trip(self, name: str) -> bool:
        """Whether an item comes back as it was written, and is gone once it is deleted.

        `name` is nobody else's.
        """
        key, item = counter_key(f"{_SERIES}{name}"), Counter(1_234_567)
        try:
            written = await self._table.put(key, item)
            same = written.ok and await self._table.get(key) == item
        finally:
            await self._table.delete([key])
        return same and await self._table.get(key) is None

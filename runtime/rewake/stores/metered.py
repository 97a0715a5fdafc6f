"""A table in memory that counts what it would cost as one of DynamoDB, in units as billed.

A write is a unit for each KiB of its item, also if its condition fails. In the index of due times,
one that appears or goes is a unit, and one that moves is two. A read is a unit for each 4 KiB: of
an item, or of all that one query gives.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rewake.records import Item
from rewake.stores.items import encode
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Key, Page, Written

WRITES, READS, PUTS, GETS = "write units", "read units", "large values put", "large values read"


class MeteredTable(MemoryTable):
    """A memory table whose `used` has the units so far, by what they are of."""

    def __init__(self) -> None:
        super().__init__()
        self.used: Counter[str] = Counter({WRITES: 0, READS: 0, PUTS: 0, GETS: 0})

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """As of any table; counted."""
        return self._wrote(key, await super().put(key, item, absent=absent))

    async def update(self, key: Key, **changes: Any) -> Written:
        """As of any table; counted."""
        return self._wrote(key, await super().update(key, **changes))

    async def get(self, key: Key) -> Any:
        """As of any table; counted."""
        item = await super().get(key)
        self.used[READS] += _units(_size(key, item), 4)
        return item

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """As of any table; counted: each item by itself."""
        items = await super().get_many(keys)
        self.used[READS] += sum(_units(_size(*each), 4) for each in zip(keys, items, strict=True))
        return items

    async def query(self, partition: str, prefix: str = "", **more: Any) -> Page:
        """As of any table; counted."""
        page = await super().query(partition, prefix, **more)
        self.used[READS] += _units(sum(_size(key, item) for key, item in page.items), 4)
        return page

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """As of any shelf; counted."""
        self.used[PUTS] += 1
        await super().put_blob(run, name, data)

    async def get_blob(self, run: str, name: str) -> bytes:
        """As of any shelf; counted."""
        self.used[GETS] += 1
        return await super().get_blob(run, name)

    def _wrote(self, key: Key, written: Written) -> Written:
        self.used[WRITES] += _units(_size(key, written.item), 1)
        return written

    def _store(self, key: Key, found: Item | None, item: Item, **how: bool) -> Any:
        stored = super()._store(key, found, item, **how)
        before, after = getattr(found, "due", None), getattr(stored, "due", None)
        if before != after:
            self.used[WRITES] += (before is not None) + (after is not None)
        return stored


def _units(size: int, kib: int) -> int:
    return max(1, math.ceil(size / (kib * 1024)))


def _size(key: Key, item: Any) -> int:
    if item is None:
        return 1
    return len(key.partition.encode()) + len(key.sort.encode()) + len(encode(item))

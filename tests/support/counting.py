"""A table with DynamoDB's limits that counts what it is asked, in DynamoDB's units."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from rewake.records import Item, Millis
from rewake.stores.items import encode
from rewake.stores.memory import MemoryTable
from rewake.stores.table import Due, Key, Page, When, Written, indexed

_KIB = 1024


class CountingTable(MemoryTable):
    """A memory table that counts.

    A write, or a delete, is a unit a KiB of its item, also if its condition fails. A due time that
    appears or goes is a unit of the index, and one that moves is two. A read is a unit for each
    4 KiB, and a look at the due index one as well. `places` has the write units by partition,
    `headers` the writes to headers.
    """

    def __init__(self, **how: Any) -> None:
        super().__init__(**how)
        self.largest: dict[str, int] = {}
        self.count_anew()

    def count_anew(self) -> None:
        """Forget what was counted so far, but not the largest items."""
        self.writes = self.index = self.refused = 0
        self.reads = self.gets = self.items = self.blobs = self.looks = 0
        self.batches = self.queries = 0
        self.places = Counter[str]()
        self.headers = 0

    @property
    def units(self) -> int:
        """The write units, with those of the index."""
        return self.writes + self.index

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        return self._written(key, await super().put(key, item, absent=absent))

    async def update(self, key: Key, **changes: Any) -> Written:
        return self._written(key, await super().update(key, **changes))

    async def get(self, key: Key) -> Any:
        item = await super().get(key)
        self.gets += 1
        self.reads += _blocks(_size(key, item), 4)
        return item

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        items = await super().get_many(keys)
        self.gets += len(keys)
        self.batches += math.ceil(len(keys) / 100)
        self.reads += sum(_blocks(_size(*each), 4) for each in zip(keys, items, strict=True))
        return items

    async def query(self, partition: str, prefix: str = "", **more: Any) -> Page:
        page = await super().query(partition, prefix, **more)
        self.queries += 1
        self.items += len(page.items)
        self.reads += _blocks(sum(_size(key, item) for key, item in page.items), 4)
        return page

    async def due(self, until: Millis, **more: Any) -> list[Due]:
        self.looks += 1
        return await super().due(until, **more)

    async def get_blob(self, run: str, name: str) -> bytes:
        self.blobs += 1
        return await super().get_blob(run, name)

    def _written(self, key: Key, written: Written) -> Written:
        units = _blocks(_size(key, written.item), 1)
        self.writes += units
        self.places[key.partition] += units
        self.headers += key.sort == "H"
        self.refused += not written.ok
        return written

    def _remove(self, key: Key, when: When) -> None:
        found = self._load(key)
        super()._remove(key, when)
        self.writes += _blocks(_size(key, found), 1)
        if self._load(key) is None:
            self.index += getattr(found, "due", None) is not None

    def _store(self, key: Key, found: Item | None, item: Item, **how: Any) -> Any:
        stored = super()._store(key, found, item, **how)
        kind = key.sort[0]
        self.largest[kind] = max(self.largest.get(kind, 0), _size(key, stored))
        before, after = indexed(found), indexed(stored)
        if before != after:
            self.index += (before is not None) + (after is not None)
        return stored


def _blocks(size: int, kib: int) -> int:
    return max(1, math.ceil(size / (kib * _KIB)))


def _size(key: Key, item: Any) -> int:
    if item is None:
        return 1
    return len(key.partition.encode()) + len(key.sort.encode()) + len(encode(item))

"""A series: items that come one after another and are kept for a while, bounded in number and age.

Each item has a number, which a counter gives it, and lies newest first. The counter only rises, so
a series has at most `last - oldest + 1` items, which two reads tell; nothing that is counted up and
down could drift from what is there. A number that was given and not used is a gap, and harmless.
Where the series is bounded in bytes as well the counter counts these likewise, and each item says
how many there were before it (`before`): what is there is a subtraction again.

What is over the bounds is removed a few items at a time, oldest first (`trim`). An item never
changes and its place is never used again, so it does not matter which process removes it, how many
do, how late, or where one dies: nothing newer can be hit. No due time covers an item, and none is
needed: nobody waits for it.

Where a partition takes so many writes and no more, items are dealt out to several by their numbers.
Then the counter alone bounds a series, to as many items a second as its own partition takes writes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from rewake.ledger import Counter
from rewake.records import Item, Millis
from rewake.stores.blobs import Again
from rewake.stores.keys import (
    counter_key,
    dealt_to,
    number_in,
    numbered_key,
    series_partitions,
)
from rewake.stores.merging import merged
from rewake.stores.table import Key, Table


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many items a series keeps, for how long (ms), and how many bytes; None: any number."""

    items: int
    age: Millis
    size: int | None = None


class Series:
    """The series in one partition. `letter` is that of its items' sort keys.

    Its items say when they were made (`at`). What is large can be kept apart from its item, so
    that neither a list nor a trim reads it: `apart` is the letter of its sort key.
    """

    def __init__(
        self,
        table: Table,
        again: Again,
        partition: str,
        letter: str,
        bounds: Bounds,
        apart: str = "",
    ) -> None:
        self._table = table
        self._again = again
        self._partition = partition
        self._partitions = series_partitions(partition, table.spread.shards)
        self._letter = letter
        self._bounds = bounds
        self._apart = apart

    async def append(self, item: Item, large: Item | None = None) -> int:
        """Keep an item, as the newest one, and what is `large` of it. Returns its number."""
        size = None
        if self._bounds.size is not None:
            size = sum(len(msgspec.json.encode(each)) for each in (item, large) if each is not None)

        async def work() -> int:
            counted, kept = await self._next(size), item
            if size is not None:
                kept = msgspec.structs.replace(item, before=counted.size - size)
            place, beside = self._place(counted.last), self._place_apart(counted.last)
            await self._again(lambda: self._table.put(place, kept))
            if large is not None:  # after it, or a crash would leave what no trim finds
                await self._again(lambda: self._table.put(beside, large))
            return counted.last

        return await self._table.together(work)

    async def _next(self, size: int | None) -> Counter:
        counter, blank, add = counter_key(self._partition), Counter(), {"last": 1}
        if size is not None:
            add["size"] = size
        # Repeated after a write of which nothing is known, it leaves a gap.
        count = lambda: self._table.update(counter, add=add, create=blank)  # noqa: E731
        found: Counter = (await self._again(count)).item
        return found

    async def at(self, number: int) -> Any:
        """The item of this number; None if there is none, or none any more."""
        return await self._table.get(self._place(number))

    async def apart(self, number: int) -> Any:
        """What is kept apart from the item of this number; None if there is nothing."""
        return await self._table.get(self._place_apart(number))

    async def before(self, number: int | None, limit: int) -> list[tuple[int, Any]]:
        """Items older than this number (None: the newest), newest first, with their numbers."""
        cursor = None if number is None else self._place(number).sort
        page = await merged(
            self._table, self._partitions, f"{self._letter}#", limit=limit, cursor=cursor
        )
        return [(number_in(key), item) for key, item in page.items]

    async def trim(self, now: Millis, limit: int) -> bool:
        """Remove what is over the bounds, at most so many items. Whether more may be."""
        counter: Counter | None = await self._table.get(counter_key(self._partition))
        if counter is None:
            return False
        few = -(-limit // len(self._partitions))
        parts = [await self._over(each, counter, now, few + 1) for each in self._partitions]
        over = sorted(number for part in parts for number in part)
        await self.remove(over[:limit])
        return len(over) > limit or any(len(part) > few for part in parts)

    async def _over(self, partition: str, counter: Counter, now: Millis, limit: int) -> list[int]:
        """The oldest items of a partition that are over the bounds, at most so many."""
        page = await self._table.query(partition, f"{self._letter}#", limit=limit, reverse=True)
        return [
            number_in(key) for key, item in page.items if self._is_over(key, item, counter, now)
        ]

    async def remove(self, numbers: Sequence[int]) -> None:
        """Remove the items of these numbers, and what is apart from them."""
        # What is apart goes first, or a death between would leave what no trim finds.
        apart = [self._place_apart(number) for number in numbers if self._apart]
        for gone in (apart, [self._place(number) for number in numbers]):
            if gone:
                await self._again(functools.partial(self._table.delete, gone))

    def _is_over(self, key: Key, item: Any, counter: Counter, now: Millis) -> bool:
        bounds = self._bounds
        return (
            number_in(key) <= counter.last - bounds.items
            or item.at < now - bounds.age
            or (bounds.size is not None and counter.size - item.before > bounds.size)
        )

    def _place_apart(self, number: int) -> Key:
        return numbered_key(self._partition_of(number), self._apart, number)

    def _place(self, number: int) -> Key:
        return numbered_key(self._partition_of(number), self._letter, number)

    def _partition_of(self, number: int) -> str:
        return dealt_to(self._partitions, number)

"""A series: items that come one after another and are kept for a while, bounded in number and age.

Each item has a number, which a counter gives it, and lies newest first. The counter only rises, so
a series has at most `last - oldest + 1` items, which two reads tell; nothing that is counted up and
down could drift from what is there. A number that was given and not used is a gap, and harmless.

What is over the bounds is removed a few items at a time, oldest first (`trim`). An item never
changes and its place is never used again, so it does not matter which process removes it, how many
do, how late, or where one dies: nothing newer can be hit. No due time covers an item, and none is
needed: nobody waits for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rewake.ledger import Counter
from rewake.records import Item, Millis
from rewake.stores.blobs import Again
from rewake.stores.keys import counter_key, number_in, numbered_key
from rewake.stores.table import Key, Table


@dataclass(frozen=True, slots=True)
class Bounds:
    """How many items a series keeps, and for how long (ms)."""

    items: int
    age: Millis


class Series:
    """The series in one partition. `letter` is that of its items' sort keys.

    Its items say when they were made (`at`).
    """

    def __init__(
        self, table: Table, again: Again, partition: str, letter: str, bounds: Bounds
    ) -> None:
        self._table = table
        self._again = again
        self._partition = partition
        self._letter = letter
        self._bounds = bounds

    async def append(self, item: Item) -> None:
        """Keep an item, as the newest one."""

        async def work() -> None:
            place = self._place(await self._next())
            await self._again(lambda: self._table.put(place, item))

        await self._table.together(work)

    async def _next(self) -> int:
        counter, blank = counter_key(self._partition), Counter()
        # Repeated after a write of which nothing is known, it leaves a gap.
        count = lambda: self._table.update(counter, add={"last": 1}, create=blank)  # noqa: E731
        number: int = (await self._again(count)).item.last
        return number

    async def before(self, number: int | None, limit: int) -> list[tuple[int, Any]]:
        """Items older than this number (None: the newest), newest first, with their numbers."""
        cursor = None if number is None else self._place(number).sort
        page = await self._table.query(
            self._partition, f"{self._letter}#", limit=limit, cursor=cursor
        )
        return [(number_in(key), item) for key, item in page.items]

    async def trim(self, now: Millis, limit: int) -> bool:
        """Remove what is over the bounds, at most so many items. Whether more may be."""
        counter: Counter | None = await self._table.get(counter_key(self._partition))
        if counter is None:
            return False
        page = await self._table.query(
            self._partition, f"{self._letter}#", limit=limit, reverse=True
        )
        last, bounds = counter.last, self._bounds
        over = [
            key
            for key, item in page.items
            if number_in(key) <= last - bounds.items or item.at < now - bounds.age
        ]
        if over:
            await self._again(lambda: self._table.delete(over))
        return len(over) == limit

    def _place(self, number: int) -> Key:
        return numbered_key(self._partition, self._letter, number)

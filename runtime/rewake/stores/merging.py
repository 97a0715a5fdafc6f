"""One page of items that lie in several partitions, in the order of their sort keys.

No two of them have one sort key, so it is a cursor in all of them at once.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from rewake.stores.patience import gathered
from rewake.stores.table import Key, Page, Table

Query = Callable[..., Awaitable[Page]]
S = TypeVar("S")
AT_ONCE = 32
"""So many items are worked on side by side."""


async def merged(
    table: Table,
    partitions: Sequence[str],
    prefix: str = "",
    *,
    limit: int,
    cursor: str | None,
    reverse: bool = False,
) -> Page:
    """A page of the items whose sort keys start with `prefix`. A full one has a cursor."""
    query = functools.partial(table.query, reverse=reverse)
    if len(partitions) == 1:
        return await query(partitions[0], prefix, limit=limit, cursor=cursor)
    few = min(limit, 2 * limit // len(partitions) + 1)
    parts = [_Part(query, partition, prefix, few, cursor) for partition in partitions]
    found: list[tuple[Key, Any]] = []
    while len(found) < limit:
        await gathered(part.fill() for part in parts if not part.items)
        parts = [part for part in parts if part.items]
        if not parts:
            return Page(found, None)
        first = (max if reverse else min)(parts, key=_place)
        found.append(first.items.popleft())
        if not first.items and first.is_over:
            parts.remove(first)
    return Page(found, found[-1][0].sort)


async def everything(table: Table, partitions: Sequence[str], prefix: str) -> list[Any]:
    """All items of these partitions whose sort keys start with `prefix`, in no order."""
    if len(partitions) == 1:
        return await _all(table, partitions[0], prefix)
    found = await gathered(_all(table, partition, prefix) for partition in partitions)
    return [item for part in found for item in part]


async def _all(table: Table, partition: str, prefix: str) -> list[Any]:
    items: list[Any] = []
    cursor: str | None = None
    while True:
        page = await table.query(partition, prefix, cursor=cursor)
        items.extend(item for _, item in page.items)
        cursor = page.cursor
        if cursor is None:
            return items


class _Part:
    """What one partition has of the page, as far as it was read."""

    def __init__(
        self, query: Query, partition: str, prefix: str, few: int, cursor: str | None
    ) -> None:
        self.items: deque[tuple[Key, Any]] = deque()
        self.is_over = False
        self._query = query
        self._where = (partition, prefix)
        self._few = few
        self._cursor = cursor

    async def fill(self) -> None:
        """Read on, until there is an item or there are no more."""
        while not self.items and not self.is_over:
            page = await self._query(*self._where, limit=self._few, cursor=self._cursor)
            self.items.extend(page.items)
            self._cursor = page.cursor
            self.is_over = page.cursor is None


def _place(part: _Part) -> str:
    return part.items[0][0].sort


async def side_by_side(
    work: Callable[[S], Coroutine[Any, Any, object]], items: Sequence[S]
) -> None:
    """Do this for each of these, for some of them at once."""
    for first in range(0, len(items), AT_ONCE):
        await gathered(map(work, items[first : first + AT_ONCE]))

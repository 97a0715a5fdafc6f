"""A table in memory, for tests, that offers no more than DynamoDB does.

A protocol that holds on a database stronger than DynamoDB proves nothing, so this one is weak on
purpose: one write touches one item, a delete of many is many writes, an item has a largest size,
and the due index is a second copy that follows late, in both directions: new entries are not seen
yet and removed ones still are. Every call gives way to the event loop once before it acts, so
that any two calls may come in either order. Items are kept encoded: what a caller holds is never
what is stored. Several replicas in one process share one table, from any thread.
"""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rewake.errors import CheckpointUnreadable, StoreError
from rewake.records import Item, Millis
from rewake.stores.items import change, changed, decode, proved
from rewake.stores.table import (
    Due,
    Indexed,
    Key,
    Page,
    Spread,
    T,
    When,
    Written,
    holds,
    indexed,
)

MAX_ITEM = 400 * 1024
"""The largest item, in bytes, its key included."""

SPREAD = Spread(4)
"""Items are spread as DynamoDB needs it, over fewer partitions."""

MAX_PARTITION = 2048
"""The longest partition, in UTF-8 bytes."""

MAX_SORT = 1024
"""The longest sort key, in UTF-8 bytes."""


def _stopped_clock() -> Millis:
    return 0


class MemoryTable:
    """A `Table` in memory. The due index follows the items after `lag` ms of the clock `now`.

    Without a lag the clock does not matter. Items are spread as DynamoDB needs it.
    """

    joins = False

    def __init__(
        self,
        *,
        now: Callable[[], Millis] = _stopped_clock,
        lag: Millis = 0,
        spread: Spread = SPREAD,
    ) -> None:
        self.spread = spread
        self._lock = threading.Lock()
        self._partitions: dict[str, dict[str, bytes]] = {}
        self._blobs: dict[tuple[str, str], bytes] = {}
        self._index = _LaggingIndex(now, lag)

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        await asyncio.sleep(0)
        with self._lock:
            return self._load(key)

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, which may be of different moments."""
        found = []
        for key in keys:
            await asyncio.sleep(0)
            with self._lock:
                found.append(self._load(key))
        return found

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        await asyncio.sleep(0)
        with self._lock:
            found = self._load(key)
            if absent and found is not None:
                return Written(False, found)
            return Written(True, self._store(key, found, item))

    async def update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Item | None = None,
    ) -> Written:
        """Set attributes (None removes one) and add to numbers, if `when` holds."""
        await asyncio.sleep(0)
        with self._lock:
            found = self._load(key)
            item = change(found, when=when, set=set, add=add, create=create)
            if item is None:
                return Written(False, found)
            return Written(True, self._store(key, found, item, whole=False))

    async def query(
        self,
        partition: str,
        prefix: str = "",
        *,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
    ) -> Page:
        """Items of a partition whose sort key starts with `prefix`, in sort-key order.

        Like DynamoDB's, a page that is full has a cursor, even if nothing follows.
        """
        await asyncio.sleep(0)
        with self._lock:
            stored = self._partitions.get(partition, {})
            sorts = sorted((sort for sort in stored if sort.startswith(prefix)), reverse=reverse)
            if cursor is not None:
                sorts = [sort for sort in sorts if (sort < cursor if reverse else sort > cursor)]
            keys = [Key(partition, sort) for sort in sorts[:limit]]
            items = [(key, decode(key, stored[key.sort])) for key in keys]
        return Page(items, keys[-1].sort if keys and len(keys) == limit else None)

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        partition: str | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        """The earliest entries of the due index at or before `until`, by due time, then by key."""
        await asyncio.sleep(0)
        with self._lock:
            return self._index.earliest(until, limit, tag, partition, after)

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items, one by one, if `when` holds; a missing one is no error."""
        for key in keys:
            await asyncio.sleep(0)
            with self._lock:
                self._remove(key, when)

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        await asyncio.sleep(0)
        with self._lock:
            self._blobs.setdefault((run, name), bytes(data))

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        await asyncio.sleep(0)
        with self._lock:
            data = self._blobs.get((run, name))
        if data is None:
            raise CheckpointUnreadable(f"run {run} has no stored value {name!r}")
        return data

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove large values of a run, at most so many. Whether there may be more."""
        await asyncio.sleep(0)
        with self._lock:
            found = [place for place in self._blobs if place[0] == run][:limit]
            for place in found:
                del self._blobs[place]
        return len(found) == limit

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`; no transaction spans its writes."""
        return await work()

    async def close(self) -> None:
        """Do nothing; the items stay, for other replicas that share the table."""

    def _load(self, key: Key) -> Any:
        body = self._partitions.get(key.partition, {}).get(key.sort)
        return None if body is None else decode(key, body)

    def _store(self, key: Key, found: Item | None, item: Item, *, whole: bool = True) -> Any:
        partition = self._partitions.setdefault(key.partition, {})
        before = None if whole else partition.get(key.sort)
        body = changed(before, found, item)
        _check_sizes(key, body)
        # Decoded before it is kept: an item that could not be read back is never written.
        stored = proved(key, body)
        partition[key.sort] = body
        self._index.follow(key, indexed(found), indexed(stored))
        return stored

    def _remove(self, key: Key, when: When) -> None:
        found = self._load(key)
        if found is None or not holds(when, found):
            return
        del self._partitions[key.partition][key.sort]
        self._index.follow(key, indexed(found), None)


class _LaggingIndex:
    """Due times and tags by key, as they were `lag` ms ago.

    Changes wait in the order they were made, so that a clock that jumps backwards delays them
    but never swaps two changes of one item.
    """

    def __init__(self, now: Callable[[], Millis], lag: Millis) -> None:
        self._now = now
        self._lag = lag
        self._waiting: deque[tuple[Millis, Key, Indexed | None]] = deque()
        self._seen: dict[Key, Indexed] = {}

    def follow(self, key: Key, before: Indexed | None, after: Indexed | None) -> None:
        """Note that an item's place has changed."""
        if before != after:
            self._waiting.append((self._now() + self._lag, key, after))

    def earliest(
        self, until: Millis, limit: int, tag: str, partition: str | None, after: Due | None
    ) -> list[Due]:
        """The first entries at or before `until`, of those that can be seen by now."""
        self._catch_up()
        behind = None if after is None else (after.due, after.key)
        entries = (
            (place.due, key)
            for key, place in self._seen.items()
            if place.due <= until
            and place.tag == tag
            and partition in (None, key.partition)
            and (behind is None or (place.due, key) > behind)
        )
        return [Due(due, key) for due, key in heapq.nsmallest(limit, entries)]

    def _catch_up(self) -> None:
        now = self._now()
        while self._waiting and self._waiting[0][0] <= now:
            _, key, place = self._waiting.popleft()
            if place is None:
                self._seen.pop(key, None)
            else:
                self._seen[key] = place


def _check_sizes(key: Key, body: bytes) -> None:
    partition, sort = len(key.partition.encode()), len(key.sort.encode())
    if not 0 < partition <= MAX_PARTITION:
        raise StoreError(f"partition of {partition} bytes: must be 1 to {MAX_PARTITION}")
    if not 0 < sort <= MAX_SORT:
        raise StoreError(f"sort key of {sort} bytes: must be 1 to {MAX_SORT}")
    if partition + sort + len(body) > MAX_ITEM:
        raise StoreError(f"item {key.partition} {key.sort} is larger than 400 KB")

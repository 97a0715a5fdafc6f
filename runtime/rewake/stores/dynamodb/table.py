"""A table in DynamoDB: single conditional writes, consistent reads, and one sparse index.

Each write of the protocol is one request, on one item: nothing here scans, and there are no
transactions. A write tells what now stands (`ALL_NEW`), or what stood against it (`ALL_OLD`), so
that none is followed by a read. An update sends what has changed, and not the item.

The due index holds keys only, of items that have a due time. It is in `SHARDS` parts, each sorted
by due time, for one part takes some 1,000 writes a second; `due` asks all of them, and merges.
Entries of one moment are sorted by a fraction of their due time (`attributes.py`), so that a page
costs no more where all of them are due at once.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from rewake.errors import StoreError
from rewake.records import Item, Millis
from rewake.stores.dynamodb.attributes import (
    DUE,
    PART,
    PARTITION,
    SHARDS,
    SORT,
    TAG,
    Names,
    Raws,
    due_at,
    due_of,
    item_of,
    place_in,
    place_of,
)
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.definition import INDEX
from rewake.stores.dynamodb.expressions import ABSENT, Expressions
from rewake.stores.items import change, encode, proved
from rewake.stores.table import Due, Key, Page, Spread, T, When, Written, holds

_BATCH = 25
"""The most items that one request removes."""
_READ = 100
"""The most items that one request reads by their keys."""
_NONE = Key("", "")
"""The key of no item: it stands before all entries of a moment."""
_FOUND = {"ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

_Entry = tuple[int, Due]
"""An entry of the due index, behind its place there."""


class _Part:
    """A part of the due index that is read: up to which place, and whether there is `more`."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.request = request
        self.more = True
        self.read = 0


class DynamoTable:
    """A `Table` in the DynamoDB table `name`, or in the part of it that belongs to `app`."""

    joins = False
    spread = Spread(16)

    def __init__(self, client: Client, name: str, app: str = "") -> None:
        self._client = client
        self._name = name
        self._names = Names(app)

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        request = {"TableName": self._name, "Key": self._names.key(key), "ConsistentRead": True}
        reply = await self._client.read("GetItem", request)
        return None if reply.item is None else item_of(key, reply.item)

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, in their order; None for each that is missing."""
        found: dict[Key, Any] = {}
        batches = [keys[start : start + _READ] for start in range(0, len(keys), _READ)]
        for batch in batches:
            found |= await self._read(batch)
        return [found.get(key) for key in keys]

    async def _read(self, keys: Sequence[Key]) -> dict[Key, Any]:
        """Those of a few items that there are; what DynamoDB had no time for is asked again."""
        wanted = [self._names.key(key) for key in dict.fromkeys(keys)]
        left: Any = {self._name: {"Keys": wanted, "ConsistentRead": True}}
        found: dict[Key, Any] = {}
        tries = self._client.tries()
        while left:
            reply = await self._client.read("BatchGetItem", {"RequestItems": left})
            for raws in reply.responses.get(self._name, []):
                key = self._names.key_of(raws)
                found[key] = item_of(key, raws)
            progress, left = len(reply.responses.get(self._name, [])), reply.unprocessed_keys
            if left and not progress:
                await tries.again("BatchGetItem: some items could not be read yet")
        return found

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        body = encode(item)
        # Decoded before it is kept: an item that could not be read back is never written.
        stored = proved(key, body)
        request: dict[str, Any] = {
            "TableName": self._name,
            "Item": self._names.item(key, item, body),
        }
        if not absent:
            await self._client.read("PutItem", request)  # to write it twice is to write it once
            return Written(True, stored)
        reply = await self._client.write(
            "PutItem", {**request, "ConditionExpression": ABSENT, **_FOUND}
        )
        if reply.refused and reply.item is None:  # nobody could go on by that, but try for ever
            raise StoreError("it does not tell what stood against a write, as DynamoDB does")
        if reply.refused:
            return Written(False, _item(key, reply.item))
        return Written(True, stored)

    async def update(
        self,
        key: Key,
        *,
        when: When = (),
        set: Mapping[str, Any] | None = None,
        add: Mapping[str, int] | None = None,
        create: Item | None = None,
    ) -> Written:
        """Set attributes (None removes one) and add to numbers, if `when` holds.

        An item that is there and one that is made are two requests; the first alternative of
        `when` says which of them is more probable.
        """
        new = change(None, when=when, set=set, add=add, create=create)
        if new is None:
            return await self._change(key, when, set, add)
        if when and all(check.holds(None) for check in when[0]):
            made = await self.put(key, new, absent=True)
            if made.ok or not holds(when, made.item):
                return made
        while True:
            written = await self._change(key, when, set, add)
            if written.ok or written.item is not None:
                return written
            made = await self.put(key, new, absent=True)
            if made.ok:
                return made

    async def _change(
        self,
        key: Key,
        when: When,
        set: Mapping[str, Any] | None,
        add: Mapping[str, int] | None,
    ) -> Written:
        """Change an item that is there."""
        expressions = Expressions(key)
        part = self._names.part(key, set[TAG]) if set and TAG in set else None
        changes = expressions.update(set, add, part)
        condition = expressions.condition(when)
        if condition is None:
            return Written(False, await self.get(key))
        request = {
            "TableName": self._name,
            "Key": self._names.key(key),
            "ConditionExpression": condition,
            "ReturnValues": "ALL_NEW",
            **_FOUND,
            **expressions.request(),
        }
        if changes:
            request["UpdateExpression"] = changes
        reply = await self._client.write("UpdateItem", request)
        found = _item(key, reply.item if reply.refused else reply.attributes)
        return Written(not reply.refused, found)

    async def query(
        self,
        partition: str,
        prefix: str = "",
        *,
        limit: int | None = None,
        cursor: str | None = None,
        reverse: bool = False,
    ) -> Page:
        """Items of a partition whose sort key starts with `prefix`, in sort-key order."""
        values = {":partition": {"S": self._names.partition(partition)}}
        condition = f"{PARTITION} = :partition"
        if prefix:
            values[":prefix"] = {"S": prefix}
            condition += f" AND begins_with({SORT}, :prefix)"
        request: dict[str, Any] = {
            "TableName": self._name,
            "KeyConditionExpression": condition,
            "ExpressionAttributeValues": values,
            "ConsistentRead": True,
            "ScanIndexForward": not reverse,
        }
        if cursor is not None:
            request["ExclusiveStartKey"] = self._names.key(Key(partition, cursor))
        items: list[tuple[Key, Any]] = []
        while True:  # a page of DynamoDB has no more than 1 MB
            if limit is not None:
                request["Limit"] = limit - len(items)
            reply = await self._client.read("Query", request)
            for raws in reply.items:
                key = self._names.key_of(raws)
                items.append((key, item_of(key, raws)))
            more = reply.last_evaluated_key
            if more is None:
                return Page(items, None)
            if limit is not None and len(items) >= limit:
                return Page(items, items[-1][0].sort)
            request["ExclusiveStartKey"] = more

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        partition: str | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        """The earliest entries of the due index at or before `until`, by their places there."""
        if after is not None and after.due > until:
            return []
        parts = [
            self._part(part, until, limit, partition, after) for part in self._names.parts(tag)
        ]
        behind = None if after is None else _entry(after)
        open_, entries = parts, list[_Entry]()
        while open_:
            found = await asyncio.gather(*map(self._more, open_), return_exceptions=True)
            for each in found:  # all of them have ended: none is left behind
                if isinstance(each, BaseException):
                    raise each
                entries += (entry for entry in each if behind is None or behind < entry)
            entries = heapq.nsmallest(limit, entries)
            last = entries[-1][0] if len(entries) == limit else math.inf
            # Two keys may have one fraction: DynamoDB has no order for them, so all are read.
            open_ = [each for each in parts if each.more and each.read <= last]
        return [due for _, due in entries]

    def _part(
        self, part: str, until: Millis, limit: int, partition: str | None, after: Due | None
    ) -> _Part:
        """A part of the index, of which nothing was read yet."""
        values = {":part": {"S": part}, ":end": due_at(place_of(until + 1, _NONE))}
        request: dict[str, Any] = {
            "TableName": self._name,
            "IndexName": INDEX,
            "KeyConditionExpression": f"{PART} = :part AND {DUE} < :end",
            "ExpressionAttributeValues": values,
            "Limit": limit // SHARDS * 2 + 2,  # about its share, so that one round is enough
        }
        if after is not None:
            values[":after"] = due_at(place_of(after.due, after.key))
            request["KeyConditionExpression"] = f"{PART} = :part AND {DUE} BETWEEN :after AND :end"
        if partition is not None:
            values[":partition"] = {"S": self._names.partition(partition)}
            request["FilterExpression"] = f"{PARTITION} = :partition"
            request["Limit"] = max(limit, _READ)
        return _Part(request)

    async def _more(self, part: _Part) -> list[_Entry]:
        """The next entries of a part of the index."""
        reply = await self._client.read("Query", part.request)
        more = reply.last_evaluated_key
        entries = [_entry(Due(due_of(raws), self._names.key_of(raws))) for raws in reply.items]
        part.more = more is not None
        if more is not None:
            part.request["ExclusiveStartKey"] = more
            part.read = place_in(more[DUE]["N"])
        return entries

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items; a missing one is no error. With `when`, each only if that holds."""
        wanted = list(dict.fromkeys(keys))
        if when or len(wanted) == 1:
            for key in wanted:
                await self._delete(key, when)
            return
        removed = [{"DeleteRequest": {"Key": self._names.key(key)}} for key in wanted]
        for start in range(0, len(removed), _BATCH):
            await self._remove(removed[start : start + _BATCH])

    async def _delete(self, key: Key, when: When) -> None:
        """Remove one item, if the condition holds."""
        request: dict[str, Any] = {"TableName": self._name, "Key": self._names.key(key)}
        if when:
            expressions = Expressions(key)
            condition = expressions.condition(when)
            if condition is None:
                return
            request |= {"ConditionExpression": condition, **expressions.request()}
        await self._client.read("DeleteItem", request)  # twice is as good as once

    async def _remove(self, batch: Iterable[Mapping[str, Any]]) -> None:
        """Remove a few items; what DynamoDB had no time for is asked again."""
        left: Any = {self._name: list(batch)}
        tries = self._client.tries()
        while left:
            reply = await self._client.read("BatchWriteItem", {"RequestItems": left})
            left = reply.unprocessed_items
            if left:
                await tries.again("BatchWriteItem: some items could not be removed yet")

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`; no transaction spans its writes."""
        return await work()

    async def close(self) -> None:
        """End the connections."""
        await self._client.close()


def _entry(due: Due) -> _Entry:
    return place_of(due.due, due.key), due


def _item(key: Key, raws: Raws | None) -> Any:
    return None if raws is None else item_of(key, raws)

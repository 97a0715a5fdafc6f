"""A table behind which the texts of users are sealed: errors, tracebacks, reasons, lines of log.

It stands between the protocol and any table, only where the app has a payload codec, so it costs
nothing elsewhere, and no room above can forget it. A codec that fails is a database that takes no
write for a while: `StoreUnavailable`. Values are sealed already (`values/sealing.py`).
Conditions are never about a text, so a sealed one, which is another each time, hinders none.

A text is bound to its item's key, and to its place in that.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from rewake.ledger import Became, Received, ReceivedBody, Schedule
from rewake.noted import Try
from rewake.published import Subscription
from rewake.records import (
    BlockEnded,
    CancelRequested,
    Chunk,
    Failure,
    Finished,
    Header,
    Item,
    Logged,
    Millis,
    Operation,
    Outcome,
    Retried,
    StartedAnew,
    Stepped,
    Withdrawn,
)
from rewake.sent import Signal
from rewake.signing.payloads import Context, PayloadCodec
from rewake.stores.keys import run_of
from rewake.stores.table import Due, Key, Page, Spread, T, Table, When, Written
from rewake.streamed import LogBatch, LogLine
from rewake.values.sealing import opened_data, opened_text, sealed_data, sealed_text

TEXTS: Mapping[type, tuple[str, ...]] = {
    Failure: ("type", "message", "traceback", "wraps"),
    Try: ("type", "message"),
    LogLine: ("message",),
    CancelRequested: ("reason",),
    Withdrawn: ("why",),
    Header: ("cancel", "error"),
    Schedule: ("inputs", "noted", "trouble"),
    Became: ("why",),
    Received: ("reason", "headers", "query"),
    ReceivedBody: ("data",),
    Signal: ("refused",),
    Subscription: ("fields",),
    Outcome: ("origin",),
}
"""By struct: its fields that are texts or bytes of users. All others are names, ids and marks."""
PARTS: Mapping[type, tuple[str, ...]] = {
    Header: ("lost_turn", "tail"),
    Chunk: ("entries",),
    Schedule: ("became",),
    Operation: ("tries", "failure", "outcome"),
    LogBatch: ("lines",),
    Logged: ("lines",),
    Retried: ("failure",),
    Stepped: ("outcome",),
    BlockEnded: ("outcome",),
    StartedAnew: ("failure",),
    Finished: ("outcome",),
    Outcome: ("origin",),
}
"""By struct: its fields that hold structs with such texts."""
_FIELDS: Mapping[type, tuple[str, ...]] = {
    kind: tuple(dict.fromkeys((*TEXTS.get(kind, ()), *PARTS.get(kind, ()))))
    for kind in {**TEXTS, **PARTS}
}
_PURPOSE = "text"


class _Change(NamedTuple):
    """What becomes of texts, and of bytes."""

    text: Callable[[str, PayloadCodec, Context], str]
    data: Callable[[bytes, PayloadCodec, Context], bytes]

    def __call__(self, value: str | bytes, codec: PayloadCodec, context: Context) -> str | bytes:
        if isinstance(value, str):
            return self.text(value, codec, context)
        return self.data(value, codec, context)


_SEAL, _OPEN = _Change(sealed_text, sealed_data), _Change(opened_text, opened_data)


def behind_codec(table: Table, codec: PayloadCodec | None) -> Table:
    """The table, behind which texts are sealed if there is a codec."""
    return table if codec is None else SealingTable(table, codec)


class SealingTable:
    """A `Table` that seals what it hands on to another, and opens what it gets from that."""

    def __init__(self, table: Table, codec: PayloadCodec) -> None:
        self._table = table
        self._codec = codec

    @property
    def joins(self) -> bool:
        """Whether `together` makes one write of many, so that none of them waits for another."""
        return self._table.joins

    @property
    def spread(self) -> Spread:
        """How far the table wants items spread."""
        return self._table.spread

    @property
    def folder(self) -> Path | None:
        """Where on this machine the table is; None: nowhere, or it does not say."""
        found: Path | None = getattr(self._table, "folder", None)
        return found

    @property
    def size(self) -> int | None:
        """How many bytes the table has on this machine; None: none, or it does not say."""
        found: int | None = getattr(self._table, "size", None)
        return found

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        return self.opened(key, await self._table.get(key))

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, in their order; None for each that is missing."""
        found = await self._table.get_many(keys)
        return [self.opened(key, item) for key, item in zip(keys, found, strict=True)]

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        sealed = self._whole(key, item, _SEAL)
        return self._written(key, await self._table.put(key, sealed, absent=absent))

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
        changes = set
        if set is not None:
            changes = {
                name: self._attribute(key, name, value, _SEAL) if name in _CHANGED else value
                for name, value in set.items()
            }
        made = None if create is None else self._whole(key, create, _SEAL)
        written = await self._table.update(key, when=when, set=changes, add=add, create=made)
        return self._written(key, written)

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
        page = await self._table.query(
            partition, prefix, limit=limit, cursor=cursor, reverse=reverse
        )
        return Page([(key, self.opened(key, item)) for key, item in page.items], page.cursor)

    async def due(
        self,
        until: Millis,
        *,
        limit: int,
        tag: str = "",
        partition: str | None = None,
        after: Due | None = None,
    ) -> list[Due]:
        """The earliest entries of the due index at or before `until`, by due time."""
        return await self._table.due(until, limit=limit, tag=tag, partition=partition, after=after)

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items, each if `when` holds; a missing one is no error."""
        await self._table.delete(keys, when=when)

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`, and its calls of this table as close together as the backend can."""
        return await self._table.together(work)

    async def close(self) -> None:
        """Close the database."""
        await self._table.close()

    # --- texts -----------------------------------------------------------------------------

    def _written(self, key: Key, written: Written) -> Written:
        return Written(written.ok, self.opened(key, written.item))

    def opened(self, key: Key, item: Any) -> Any:
        """The item of this key, as it is without the codec."""
        return item if item is None else self._whole(key, item, _OPEN)

    def _whole(self, key: Key, item: Any, change: _Change) -> Any:
        names = _FIELDS.get(type(item))
        if names is None:
            return item
        found = {
            name: self._attribute(key, name, value, change)
            for name in names
            if (value := getattr(item, name))
        }
        return msgspec.structs.replace(item, **found) if found else item

    def _attribute(self, key: Key, name: str, value: Any, change: _Change) -> Any:
        """The value of one attribute of an item, whose texts are numbered as they come."""
        places = (f"{key.sort}/{name}/{number}" for number in itertools.count())
        return _changed(value, partial(self._text, run_of(key), places, change))

    def _text(
        self, run: str, places: Iterator[str], change: _Change, text: str | bytes
    ) -> str | bytes:
        return change(text, self._codec, Context(run, next(places), _PURPOSE))


_CHANGED = frozenset(
    name
    for kind in (Header, Chunk, Operation, LogBatch, Schedule, Signal)
    for name in _FIELDS[kind]
)
"""The attributes of items that hold texts."""


def _changed(value: Any, change: Callable[[str | bytes], str | bytes]) -> Any:
    """A value in which all texts of users are changed; an empty text stays as it is."""
    if not value:
        return value
    if isinstance(value, str | bytes):
        return change(value)
    if isinstance(value, list | tuple):
        return type(value)(_changed(each, change) for each in value)
    found = {
        name: _changed(old, change)
        for name in _FIELDS.get(type(value), ())
        if (old := getattr(value, name))
    }
    return msgspec.structs.replace(value, **found) if found else value

"""The rows of a SQLite table as one connection sees them, with every statement on them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, cast

from rewake.errors import CheckpointUnreadable
from rewake.records import Item, Millis
from rewake.stores.items import changed, decode, proved
from rewake.stores.table import Due, Key, Page, When, Written, holds, indexed, is_moved

_GET = "SELECT body FROM items WHERE partition = ? AND sort = ?"
_NEW = "INSERT INTO items (partition, sort, due, tag, body) VALUES (?, ?, ?, ?, ?)"
_INSERT = f"{_NEW} ON CONFLICT DO NOTHING"
_WRITE = (
    f"{_NEW} ON CONFLICT (partition, sort) DO UPDATE"
    " SET due = excluded.due, tag = excluded.tag, body = excluded.body"
)
_CHANGE_BODY = "UPDATE items SET body = ? WHERE partition = ? AND sort = ?"
_DELETE = "DELETE FROM items WHERE partition = ? AND sort = ?"
_RANGE = "SELECT sort, body FROM items WHERE partition = ? AND sort >= ? AND sort < ?"
_FORWARD = f"{_RANGE} ORDER BY sort LIMIT ?"
_BACKWARD = f"{_RANGE} ORDER BY sort DESC LIMIT ?"
_FROM_DUE = "SELECT due, partition, sort FROM items WHERE tag = ? AND due <= ?"
_DUE = f"{_FROM_DUE} AND (due, partition, sort) > (?, ?, ?) ORDER BY due, partition, sort LIMIT ?"
_DUE_THERE = f"{_FROM_DUE} AND (due, sort) > (?, ?) AND partition = ? ORDER BY due, sort LIMIT ?"
_FIRST = Due(-1, Key("", ""))
_PUT_BLOB = "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_GET_BLOB = "SELECT data FROM blobs WHERE run = ? AND name = ?"
_DELETE_BLOBS = (
    "DELETE FROM blobs WHERE run = ? AND name IN (SELECT name FROM blobs WHERE run = ? LIMIT ?)"
)

SPARE = 1_024
"""Free pages that the file keeps at least, and a tenth of all: new rows take them."""
MOST_PAGES = 128
"""The most pages that are given back with one removal: they are moved under the write lock."""

_PARTITIONS = "SELECT DISTINCT partition FROM items WHERE partition > ? ORDER BY partition LIMIT ?"
_BLOBS = "SELECT run, name FROM blobs WHERE (run, name) > (?, ?) ORDER BY run, name LIMIT ?"

_AFTER_ALL_TEXT = b""  # SQLite orders every blob after every text.
_LAST_CHARACTER = "\U0010ffff"
_NO_LIMIT = -1


class Rows:
    """Reads and writes rows on one connection, and neither begins nor commits a transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.cursor().execute

    def get(self, key: Key) -> Any:
        body = self._body(key)
        return None if body is None else decode(key, body)

    def _body(self, key: Key) -> bytes | None:
        rows = self._execute(_GET, (key.partition, key.sort)).fetchall()
        return rows[0][0] if rows else None

    def insert(self, key: Key, item: Item, body: bytes) -> Written:
        made = self._execute(_INSERT, _row(key, item, body)).rowcount
        return Written(True, item) if made else Written(False, self.get(key))

    def replace(self, key: Key, item: Item, body: bytes) -> Written:
        self._execute(_WRITE, _row(key, item, body))
        return Written(True, item)

    def update(self, key: Key, made: Callable[[Item | None], Item | None]) -> Written:
        before = self._body(key)
        found = None if before is None else decode(key, before)
        item = made(found)
        if item is None:
            return Written(False, found)
        body = changed(before, found, item)
        # Decoded before it is kept: an item that could not be read back is never written.
        stored = proved(key, body)
        if found is None or is_moved(found, stored):
            return self.replace(key, stored, body)
        # Most changes leave its place in the due index as it is, and then that is not touched.
        self._execute(_CHANGE_BODY, (body, key.partition, key.sort))
        return Written(True, stored)

    def query(
        self, partition: str, prefix: str, limit: int | None, cursor: str | None, reverse: bool
    ) -> Page:
        low, high = prefix, _after(prefix)
        if cursor is not None:
            low, high = (low, cursor) if reverse else (cursor + "\0", high)
        statement = _BACKWARD if reverse else _FORWARD
        # One more than asked for tells whether there is more.
        count = _NO_LIMIT if limit is None else limit + 1
        rows = self._execute(statement, (partition, low, high, count)).fetchall()
        keys = [Key(partition, sort) for sort, _ in rows[:limit]]
        items = [(key, decode(key, body)) for key, (_, body) in zip(keys, rows, strict=False)]
        return Page(items, keys[-1].sort if keys and len(rows) > len(keys) else None)

    def due(
        self, until: Millis, limit: int, tag: str, partition: str | None, after: Due | None
    ) -> list[Due]:
        last = after or _FIRST
        where: tuple[Any, ...] = (tag, until, last.due, last.key.partition, last.key.sort)
        statement = _DUE
        if partition is not None:
            where = (tag, until, last.due, last.key.sort, partition)
            statement = _DUE_THERE
        rows = self._execute(statement, (*where, limit)).fetchall()
        return [Due(due, Key(partition, sort)) for due, partition, sort in rows]

    def delete(self, keys: Sequence[Key], when: When) -> None:
        gone = [key for key in keys if holds(when, self.get(key))] if when else keys
        self.connection.executemany(_DELETE, [(key.partition, key.sort) for key in gone])
        self._give_back()

    def put_blob(self, run: str, name: str, data: bytes) -> None:
        self._execute(_PUT_BLOB, (run, name, data))

    def get_blob(self, run: str, name: str) -> bytes:
        rows = self._execute(_GET_BLOB, (run, name)).fetchall()
        if not rows:
            raise CheckpointUnreadable(f"run {run} has no stored value {name!r}")
        return cast(bytes, rows[0][0])

    def partitions(self, after: str, limit: int) -> list[str]:
        rows = self._execute(_PARTITIONS, (after, limit)).fetchall()
        return [partition for (partition,) in rows]

    def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        return self._execute(_BLOBS, (*after, limit)).fetchall()

    def delete_blobs(self, run: str, limit: int) -> bool:
        more = self._execute(_DELETE_BLOBS, (run, run, limit)).rowcount == limit
        self._give_back()
        return more

    def _give_back(self) -> None:
        """Make the file smaller by a few pages, if many are free: what comes next needs some."""
        free = self._execute("PRAGMA freelist_count").fetchone()[0]
        if free <= SPARE:
            return
        pages = self._execute("PRAGMA page_count").fetchone()[0]
        over = free - max(SPARE, pages // 10)
        for _ in range(min(over, MOST_PAGES)):
            # One at a time: of what gives no rows, Python takes one step alone.
            self._execute("PRAGMA incremental_vacuum(1)").fetchall()


def _row(key: Key, item: Item, body: bytes) -> tuple[str, str, Millis | None, str, bytes]:
    place = indexed(item) or (None, "")
    return (key.partition, key.sort, *place, body)


def _after(prefix: str) -> str | bytes:
    """The least value that SQLite orders after every text that starts with `prefix`."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return _AFTER_ALL_TEXT
    last = stem[-1]
    # The surrogates in between are no characters and cannot be stored.
    return stem[:-1] + ("\ue000" if last == "\ud7ff" else chr(ord(last) + 1))

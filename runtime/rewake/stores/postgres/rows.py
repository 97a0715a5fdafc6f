"""The rows of a PostgreSQL table, with every statement on them, however they are carried out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from rewake.errors import CheckpointUnreadable
from rewake.records import Millis
from rewake.stores.items import decode
from rewake.stores.postgres.flight import Backend, Blobs, Flight, Row
from rewake.stores.table import Due, Key, Page

LARGE = 1024 * 1024
"""A value of more bytes is read by itself, once it is known how many they are."""


class Execute(Protocol):
    """Carries a statement out, with values for each `%s`, and commits it. Raises `StoreError`.

    `moves`: so many bytes go one way or the other, which takes its time.
    """

    async def __call__(
        self, statement: str, values: Sequence[Any], *, moves: int = 0
    ) -> list[tuple[Any, ...]]:
        """The rows that it answers."""
        ...


_LAST = b"\xff"
"""More than any text in UTF-8."""
_BEFORE_ALL = Due(-(2**63), Key("", ""))


class _Statements(NamedTuple):
    """The statements, which name a schema."""

    get: str
    found: str
    write: str
    write_one: str
    is_held: str
    forward: str
    backward: str
    due: str
    due_there: str
    get_blob: str
    get_large: str
    delete_blobs: str
    partitions: str
    blobs: str


_RANGE = (
    "SELECT sort, body FROM {schema}.items WHERE partition = %s AND sort >= %s AND sort < %s"
    " ORDER BY sort {order} LIMIT %s"
)
_TEXTS = _Statements(
    get="SELECT body FROM {schema}.items WHERE partition = %s AND sort = %s",
    found="SELECT number, body FROM {schema}.found(%s::bytea[], %s::bytea[])",
    write=(
        "SELECT number, body FROM {schema}.write(%s::bytea[], %s::bytea[], %s::bytea[],"
        " %s::bigint[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[], %s::bytea[])"
    ),
    write_one="SELECT {schema}.write_one(%s, %s, %s, %s, %s, %s)",
    # By who has marked it, of which 32 bits are there. Of several who hold it none is told.
    is_held=(
        "SELECT txid_status(greatest(now - mod(now - x + 4294967296, 4294967296), 0)) FROM"
        " (SELECT xmax::text::bigint AS x, txid_current() AS now"
        " FROM {schema}.items WHERE partition = %s AND sort = %s) AS seen WHERE x <> 0"
    ),
    forward=_RANGE.replace("{order}", "ASC"),
    backward=_RANGE.replace("{order}", "DESC"),
    due=(
        "SELECT due, partition, sort FROM {schema}.items WHERE tag = %s AND due <= %s"
        " AND (due, partition, sort) > (%s, %s, %s) ORDER BY due, partition, sort LIMIT %s"
    ),
    # Of one partition, by its key: most of them are small, and the index of due times is not.
    due_there=(
        "SELECT due, partition, sort FROM {schema}.items WHERE tag = %s AND due <= %s"
        " AND (due, partition, sort) > (%s, %s, %s) AND partition = %s ORDER BY due, sort LIMIT %s"
    ),
    get_blob=(
        "SELECT octet_length(data), CASE WHEN octet_length(data) <= %s THEN data END"
        " FROM {schema}.blobs WHERE run = %s AND name = %s"
    ),
    get_large="SELECT data FROM {schema}.blobs WHERE run = %s AND name = %s",
    delete_blobs=(
        "DELETE FROM {schema}.blobs WHERE run = %s AND name IN"
        " (SELECT name FROM {schema}.blobs WHERE run = %s LIMIT %s) RETURNING 1"
    ),
    partitions=(
        "SELECT partition FROM {schema}.items WHERE partition > %s"
        " GROUP BY partition ORDER BY partition LIMIT %s"
    ),
    blobs=(
        "SELECT run, name FROM {schema}.blobs WHERE (run, name) > (%s, %s)"
        " ORDER BY run, name LIMIT %s"
    ),
)


class Rows(Backend):
    """Reads and writes of a schema, by `execute`. Every write is one statement."""

    def __init__(self, schema: str, execute: Execute) -> None:
        # Its name is of letters, digits and _: see `place`.
        self._texts = _Statements(*(each.replace("{schema}", f'"{schema}"') for each in _TEXTS))
        self._execute = execute

    async def get(self, key: Key) -> Any:
        rows = await self._execute(self._texts.get, _key(key))
        return decode(key, rows[0][0]) if rows else None

    async def fetch(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        if len(keys) == 1:
            rows = await self._execute(self._texts.get, _key(keys[0]))
            return {keys[0]: rows[0][0]} if rows else {}
        rows = await self._execute(
            self._texts.found,
            ([_bytes(key.partition) for key in keys], [_bytes(key.sort) for key in keys]),
        )
        return {keys[number - 1]: body for number, body in rows}

    async def write(self, rows: Sequence[Row], blobs: Blobs) -> dict[Key, bytes | None]:
        if len(rows) == 1 and not blobs and rows[0].base is not None and rows[0].body is not None:
            return await self._write_one(rows[0])
        moves = sum(len(row.body) for row in rows if row.body) + sum(map(len, blobs.values()))
        stale = await self._execute(
            self._texts.write,
            (
                [_bytes(row.key.partition) for row in rows],
                [_bytes(row.key.sort) for row in rows],
                [row.base for row in rows],
                [row.place.due if row.place else None for row in rows],
                [_bytes(row.place.tag) if row.place else b"" for row in rows],
                [row.body for row in rows],
                [_bytes(run) for run, _ in blobs],
                [_bytes(name) for _, name in blobs],
                list(blobs.values()),
            ),
            moves=moves,
        )
        return {rows[number - 1].key: body for number, body in stale}

    async def is_held(self, key: Key) -> bool:
        return await self._execute(self._texts.is_held, _key(key)) == [("in progress",)]

    async def _write_one(self, row: Row) -> dict[Key, bytes | None]:
        due, tag = row.place or (None, "")
        values = (*_key(row.key), row.base, due, _bytes(tag), row.body)
        stale = await self._execute(self._texts.write_one, values)
        return {row.key: stale[0][0]} if stale else {}

    async def query(
        self,
        partition: str,
        prefix: str,
        limit: int | None,
        cursor: str | None,
        reverse: bool,
        flight: Flight | None = None,
    ) -> Page:
        low, high = _bytes(prefix), _after(prefix)
        if cursor is not None:
            low, high = (low, _bytes(cursor)) if reverse else (_bytes(cursor) + b"\0", high)
        changed = {} if flight is None else flight.changed(partition)
        # One more than asked for tells whether there is more.
        count = None if limit is None else limit + 1 + len(changed)
        statement = self._texts.backward if reverse else self._texts.forward
        rows = await self._execute(statement, (_bytes(partition), low, high, count))
        found: dict[str, bytes] = {_text(sort): body for sort, body in rows}
        for key, (_, body) in changed.items():
            if body is None:
                found.pop(key.sort, None)
            elif low <= _bytes(key.sort) < high:
                found[key.sort] = body
        sorts = sorted(found, reverse=reverse) if changed else list(found)
        keys = [Key(partition, sort) for sort in sorts[:limit]]
        items = [(key, decode(key, found[key.sort])) for key in keys]
        return Page(items, keys[-1].sort if keys and len(sorts) > len(keys) else None)

    async def due(
        self,
        until: Millis,
        limit: int,
        tag: str,
        partition: str | None,
        after: Due | None,
        flight: Flight | None = None,
    ) -> list[Due]:
        changed = {} if flight is None else flight.changed(partition)
        last = after or _BEFORE_ALL
        where: list[Any] = [_bytes(tag), until, last.due, *_key(last.key)]
        where += [] if partition is None else [_bytes(partition)]
        statement = self._texts.due if partition is None else self._texts.due_there
        rows = await self._execute(statement, [*where, limit + len(changed)])
        found = [Due(due, Key(_text(there), _text(sort))) for due, there, sort in rows]
        if changed:
            new = [
                Due(place.due, key)
                for key, (place, _) in changed.items()
                if place is not None and place.tag == tag
            ]
            found = [each for each in found if each.key not in changed]
            found += [
                each
                for each in new
                if each.due <= until and (each.due, each.key) > (last.due, last.key)
            ]
            found.sort(key=lambda each: (each.due, each.key))
        return found[:limit]

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        found = await self.fetch(keys) if keys else {}
        return [decode(key, found[key]) if key in found else None for key in keys]

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        await self.write([], {(run, name): data})  # which waits for nobody's lock for long

    async def get_blob(self, run: str, name: str) -> bytes:
        where = (_bytes(run), _bytes(name))
        rows = await self._execute(self._texts.get_blob, (LARGE, *where))
        if rows and rows[0][1] is None:
            rows = await self._execute(self._texts.get_large, where, moves=rows[0][0])
        if not rows:
            raise CheckpointUnreadable(f"run {run} has no stored value {name!r}")
        return bytes(rows[0][-1])

    async def delete_blobs(self, run: str, limit: int) -> bool:
        rows = await self._execute(self._texts.delete_blobs, (_bytes(run), _bytes(run), limit))
        return len(rows) == limit

    async def partitions(self, after: str, limit: int) -> list[str]:
        """The partitions behind this one, in order."""
        rows = await self._execute(self._texts.partitions, (_bytes(after), limit))
        return [_text(partition) for (partition,) in rows]

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The places of large values behind this one, in order."""
        where = (_bytes(after[0]), _bytes(after[1]), limit)
        rows = await self._execute(self._texts.blobs, where)
        return [(_text(run), _text(name)) for run, name in rows]


def _key(key: Key) -> tuple[bytes, bytes]:
    return _bytes(key.partition), _bytes(key.sort)


def _bytes(text: str) -> bytes:
    # Half a surrogate pair is a text too.
    return text.encode("utf-8", "surrogatepass")


def _text(data: bytes) -> str:
    return bytes(data).decode("utf-8", "surrogatepass")


def _after(prefix: str) -> bytes:
    """The least bytes behind all texts that begin with `prefix`: no byte of a text is 0xff."""
    start = _bytes(prefix)
    return start[:-1] + bytes([start[-1] + 1]) if start else _LAST

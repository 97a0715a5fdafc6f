"""Patience with a database that does not answer, of who would lose by an error what it has begun.

A turn that has steps would cut them off, or throw away what they came to: work would be done twice,
and what runs at most once would be lost, for an outage of a second. To such a turn a database that
does not answer is a slow one: the same call is made again, after a while. Each call reads, or is a
write that tells itself again by its mark, and is repeated for that reason anyway.

Patience is of one asyncio task, and of none that this begins, but for what it waits for side by
side (`gathered`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, ParamSpec, TypeVar

from rewake.errors import StoreFull, StoreUnavailable
from rewake.records import Item, Millis
from rewake.stores.shelf import Shelf
from rewake.stores.table import Due, Key, Page, Table, Written

P = ParamSpec("P")
T = TypeVar("T")
Asked = Coroutine[Any, Any, T]
"""What a call comes to, once it is awaited."""
Waits = Callable[[Exception], Awaitable[None]]
"""Waits a while after an error."""
AT_ONCE = 3
"""So often a call is repeated without a wait, as anybody's is."""


class _Patience(NamedTuple):
    tasks: set[asyncio.Task[Any] | None]
    lasts: Callable[[], bool]
    waits: Waits


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


class patient:  # noqa: N801 - read as a statement, as `contextlib.suppress`
    """Let what this task asks a database within the block be asked again while that `lasts`."""

    __slots__ = ("_patience", "_token")

    def __init__(self, lasts: Callable[[], bool], waits: Waits) -> None:
        self._patience = _Patience({asyncio.current_task()}, lasts, waits)

    def __enter__(self) -> None:
        self._token = _patience.set(self._patience)

    def __exit__(self, *_: object) -> None:
        _restore(self._token)


def _restore(token: Token[_Patience | None]) -> None:
    try:
        _patience.reset(token)
    except ValueError:
        return  # of a process that died: its coroutines are closed elsewhere


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What these come to side by side, each with the patience of who waits for them."""
    tasks, found = list(map(asyncio.ensure_future, work)), _patience.get()
    if found is None or asyncio.current_task() not in found.tasks:
        return await asyncio.gather(*tasks)
    found.tasks.update(tasks)
    try:
        return await asyncio.gather(*tasks)
    finally:
        found.tasks.difference_update(tasks)


def _asked(ask: Callable[P, Asked[T]], *args: P.args, **named: P.kwargs) -> Asked[T]:
    if _patience.get() is None:
        return ask(*args, **named)
    return _asked_again(ask, *args, **named)


async def _asked_again(ask: Callable[P, Asked[T]], *args: P.args, **named: P.kwargs) -> T:
    tries = 0
    while True:
        try:
            return await ask(*args, **named)
        except (StoreUnavailable, StoreFull) as error:
            found = _patience.get()
            if found is None or asyncio.current_task() not in found.tasks or not found.lasts():
                raise
            tries += 1
            if tries > AT_ONCE:
                await found.waits(error)


class PatientTable:
    """A table that whoever is patient asks again."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.joins = table.joins
        self.spread = table.spread

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    def get(self, key: Key) -> Asked[Any]:
        """As of the table."""
        return _asked(self._table.get, key)

    def get_many(self, keys: Sequence[Key]) -> Asked[list[Any]]:
        """As of the table."""
        return _asked(self._table.get_many, keys)

    def put(self, key: Key, item: Item, *, absent: bool = False) -> Asked[Written]:
        """As of the table."""
        return _asked(self._table.put, key, item, absent=absent)

    def update(self, key: Key, **changes: Any) -> Asked[Written]:
        """As of the table."""
        return _asked(self._table.update, key, **changes)

    def query(self, partition: str, prefix: str = "", **more: Any) -> Asked[Page]:
        """As of the table."""
        return _asked(self._table.query, partition, prefix, **more)

    def due(self, until: Millis, **more: Any) -> Asked[list[Due]]:
        """As of the table."""
        return _asked(self._table.due, until, **more)

    def delete(self, keys: Sequence[Key], **when: Any) -> Asked[None]:
        """As of the table."""
        return _asked(self._table.delete, keys, **when)

    def together(self, work: Callable[[], Awaitable[T]]) -> Asked[T]:
        """As of the table. What is one write is repeated as one."""
        if not self.joins or _patience.get() is None:
            return self._table.together(work)
        return _asked_again(self._whole, work)

    async def _whole(self, work: Callable[[], Awaitable[T]]) -> T:
        token = _patience.set(None)
        try:
            return await self._table.together(work)
        finally:
            _restore(token)

    async def close(self) -> None:
        """As of the table."""
        await self._table.close()


class PatientShelf:
    """A shelf that whoever is patient asks again."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    def put_blob(self, run: str, name: str, data: bytes) -> Asked[None]:
        """As of the shelf."""
        return _asked(self._shelf.put_blob, run, name, data)

    def get_blob(self, run: str, name: str) -> Asked[bytes]:
        """As of the shelf."""
        return _asked(self._shelf.get_blob, run, name)

    def delete_blobs(self, run: str, *, limit: int) -> Asked[bool]:
        """As of the shelf."""
        return _asked(self._shelf.delete_blobs, run, limit=limit)


def asked_again(table: Table, shelf: Shelf) -> tuple[PatientTable, PatientShelf]:
    """A table and a shelf that whoever is patient asks again."""
    return PatientTable(table), PatientShelf(shelf)

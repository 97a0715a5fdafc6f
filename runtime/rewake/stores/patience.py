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
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar

from rewake.errors import StoreFull, StoreUnavailable
from rewake.records import Item, Millis
from rewake.stores.shelf import Shelf
from rewake.stores.table import Due, Key, Page, Spread, Table, Written

T = TypeVar("T")
Waits = Callable[[Exception], Awaitable[None]]
"""Waits a while after an error."""
AT_ONCE = 3
"""So often a call is repeated without a wait, as anybody's is."""


class _Patience(NamedTuple):
    task: asyncio.Task[Any] | None
    lasts: Callable[[], bool]
    waits: Waits


_patience: ContextVar[_Patience | None] = ContextVar("patience", default=None)


def patient(lasts: Callable[[], bool], waits: Waits) -> AbstractContextManager[None]:
    """Let what this task asks a database within the block be asked again while that `lasts`."""
    return _with(_Patience(asyncio.current_task(), lasts, waits))


@contextmanager
def _with(patience: _Patience | None) -> Iterator[None]:
    token = _patience.set(patience)
    try:
        yield
    finally:
        with suppress(ValueError):  # of a process that died: its coroutines are closed elsewhere
            _patience.reset(token)


async def gathered(work: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """What these come to side by side, each with the patience of who waits for them."""
    found = _patience.get()
    if found is not None and found.task is asyncio.current_task():
        work = [_part(found, each) for each in work]
    return await asyncio.gather(*work)


async def _part(patience: _Patience, work: Coroutine[Any, Any, T]) -> T:
    with _with(patience._replace(task=asyncio.current_task())):
        return await work


async def _asked(ask: Callable[[], Awaitable[T]]) -> T:
    tries = 0
    while True:
        try:
            return await ask()
        except (StoreUnavailable, StoreFull) as error:
            found = _patience.get()
            if found is None or found.task is not asyncio.current_task() or not found.lasts():
                raise
            tries += 1
            if tries > AT_ONCE:
                await found.waits(error)


class PatientTable:
    """A table that whoever is patient asks again."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._table, name)

    @property
    def joins(self) -> bool:
        """As of the table."""
        return self._table.joins

    @property
    def spread(self) -> Spread:
        """As of the table."""
        return self._table.spread

    async def get(self, key: Key) -> Any:
        """As of the table."""
        return await _asked(lambda: self._table.get(key))

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """As of the table."""
        return await _asked(lambda: self._table.get_many(keys))

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """As of the table."""
        return await _asked(lambda: self._table.put(key, item, absent=absent))

    async def update(self, key: Key, **changes: Any) -> Written:
        """As of the table."""
        return await _asked(lambda: self._table.update(key, **changes))

    async def query(self, partition: str, prefix: str = "", **more: Any) -> Page:
        """As of the table."""
        return await _asked(lambda: self._table.query(partition, prefix, **more))

    async def due(self, until: Millis, **more: Any) -> list[Due]:
        """As of the table."""
        return await _asked(lambda: self._table.due(until, **more))

    async def delete(self, keys: Sequence[Key], **when: Any) -> None:
        """As of the table."""
        await _asked(lambda: self._table.delete(keys, **when))

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """As of the table. What is one write is repeated as one."""
        if not self._table.joins or _patience.get() is None:
            return await self._table.together(work)

        async def whole() -> T:
            with _with(None):
                return await self._table.together(work)

        return await _asked(whole)

    async def close(self) -> None:
        """As of the table."""
        await self._table.close()


class PatientShelf:
    """A shelf that whoever is patient asks again."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """As of the shelf."""
        await _asked(lambda: self._shelf.put_blob(run, name, data))

    async def get_blob(self, run: str, name: str) -> bytes:
        """As of the shelf."""
        return await _asked(lambda: self._shelf.get_blob(run, name))

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """As of the shelf."""
        return await _asked(lambda: self._shelf.delete_blobs(run, limit=limit))


def asked_again(table: Table, shelf: Shelf) -> tuple[PatientTable, PatientShelf]:
    """A table and a shelf that whoever is patient asks again."""
    return PatientTable(table), PatientShelf(shelf)

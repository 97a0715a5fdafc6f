"""A table in one SQLite file, which any number of threads and processes may share.

`rewake.stores.sqlite.writer` has how writes share their commits. Reads never wait for that. In WAL
mode a reader neither blocks nor is blocked, and a look-up takes less time than waking a thread, so
reads run where they are called, on a connection of their own. They see all that was committed,
hence every write that was answered.
"""

from __future__ import annotations

import asyncio
import contextvars
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, cast

from rewake import forks
from rewake.errors import StoreUnavailable
from rewake.records import Item, Millis
from rewake.stores.items import change, encode, proved
from rewake.stores.sqlite.file import (
    OpenFile,
    connect,
    real,
    refuse_foreign,
    refuse_read_only,
    reserve_log,
    translate,
)
from rewake.stores.sqlite.rows import Rows
from rewake.stores.sqlite.writer import Writer
from rewake.stores.table import Due, Key, Page, Spread, T, When, Written


class SqliteTable:
    """A `Table` in the SQLite file `path`, which is made if there is none.

    `busy` is how many seconds to wait for other processes before `StoreUnavailable`. With
    `threaded=False` there is no thread: each call gives way to the event loop once and then does
    its work in the caller, in a transaction of its own, so that a simulation is deterministic;
    such a table belongs to one thread. `durable=False` leaves out every sync and may lose
    or damage the file in a power cut: for tests only.
    """

    joins = True
    spread = Spread()

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        threaded: bool = True,
        durable: bool = True,
        busy: float = 5.0,
    ) -> None:
        file = real(path)
        try:
            refuse_foreign(file, busy)
            far = Rows(connect(file, durable, busy))
            near = Rows(connect(file, durable, 0.0)) if threaded else None
            if near is not None:
                refuse_read_only(near.connection)
            self._reader = Rows(connect(file, durable, busy)) if threaded else far
        except sqlite3.Error as error:
            raise translate(error, f"{file}: ") from error
        self._file = OpenFile(Path(path).absolute())
        self._threaded = threaded
        self._path = file
        self._reading = threading.Lock()
        self._writer = Writer(
            far, near, partial(reserve_log, file) if durable and threaded else None
        )
        forks.withhold(self)

    def after_fork(self) -> list[int]:
        """A connection must not be used by two processes. See `rewake.forks`."""
        return forks.descriptors_of(*(Path(f"{self._path}{end}") for end in ("", "-wal", "-shm")))

    @property
    def folder(self) -> Path:
        """Where the file is, for whoever asks how much room there is."""
        return self._path.parent

    @property
    def size(self) -> int:
        """How many bytes the file and its log have."""
        files = (Path(f"{self._path}{end}") for end in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    @property
    def commits(self) -> int:
        """The number of transactions so far that changed something."""
        return self._writer.commits

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        return await self._read(lambda rows: rows.get(key))

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, in one visit."""
        return await self._read(lambda rows: [rows.get(key) for key in keys])

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        # Encoded here: an item that cannot be stored never joins a transaction of others.
        body = encode(item)
        stored = proved(key, body)
        if absent:
            return await self._write(lambda rows: rows.insert(key, stored, body))
        return await self._write(lambda rows: rows.replace(key, stored, body))

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
        made = partial(change, when=when, set=set, add=add, create=create)
        return await self._write(lambda rows: rows.update(key, made))

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
        return await self._read(lambda rows: rows.query(partition, prefix, limit, cursor, reverse))

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
        self._file.check()  # Once a sweep is often enough.
        return await self._read(lambda rows: rows.due(until, limit, tag, partition, after))

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items, each if `when` holds, all or none; a missing one is no error."""
        await self._write(lambda rows: rows.delete(keys, when), several=len(keys) > 1)

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        await self._write(lambda rows: rows.put_blob(run, name, data))

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        return await self._read(lambda rows: rows.get_blob(run, name))

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove large values of a run, at most so many. Whether there may be more."""
        return await self._write(lambda rows: rows.delete_blobs(run, limit))

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in one transaction: all of its writes, or none if it raises.

        It runs in the caller's context, perhaps on the writer's thread, and may await nothing but
        this table. Raises `RuntimeError` if it does.
        """
        if self._writer.inside() is not None:
            return await work()
        self._file.refuse_if_gone()
        context = contextvars.copy_context()
        return cast(T, await self._writer.run(lambda _: context.run(_drive, work), True))

    async def close(self) -> None:
        """Finish the writes that wait, then close the file. Later calls are refused."""
        await self._writer.close()
        self._reader.connection.close()

    async def _read(self, run: Callable[[Rows], T]) -> T:
        inside = self._writer.inside()
        if inside is not None:
            return _run_inside(inside, run)
        if not self._threaded:
            await asyncio.sleep(0)
        self._writer.refuse_if_closed()
        self._file.refuse_if_gone()
        try:
            with self._reading:
                return run(self._reader)
        except sqlite3.Error as error:
            raise translate(error) from error

    async def _write(self, run: Callable[[Rows], T], *, several: bool = False) -> T:
        inside = self._writer.inside()
        if inside is not None:
            return _run_inside(inside, run)
        self._file.refuse_if_gone()
        return cast(T, await self._writer.run(run, several))


def _run_inside(rows: Rows, run: Callable[[Rows], T]) -> T:
    # Work that caught the error which ended its transaction must not write outside of one.
    if not rows.connection.in_transaction:
        raise StoreUnavailable("the transaction has been rolled back")
    try:
        return run(rows)
    except sqlite3.Error as error:
        raise translate(error) from error


def _drive(work: Callable[[], Awaitable[T]]) -> T:
    steps = work().__await__()
    try:
        next(steps)
    except StopIteration as end:
        return cast(T, end.value)
    steps.close()
    raise RuntimeError("work that runs together may await nothing but its table")

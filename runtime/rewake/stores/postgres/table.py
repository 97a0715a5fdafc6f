"""A table in a schema of a PostgreSQL database, which any number of processes may share.

`rewake.stores.postgres.flight` has how writes come to be one statement; `line` the connections.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, cast

from rewake import forks
from rewake.errors import StoreUnavailable
from rewake.records import Item, Millis
from rewake.stores.layout import TOGETHER
from rewake.stores.postgres.blocking import BlockingLine, connect_blocking
from rewake.stores.postgres.flight import Flight, Job, asked, flight_of
from rewake.stores.postgres.line import Line
from rewake.stores.postgres.notices import Notices
from rewake.stores.postgres.place import Place
from rewake.stores.table import Due, Key, Page, T, When, Written


class PostgresTable:
    """A `Table` and a `Shelf` in the schema of a place, which `schema.create` has made.

    Each event loop has connections of its own, made when they are needed. With `reads_only`, every
    write is refused. With `threaded=False` there is one connection that blocks: each call gives way
    to the event loop once and then does its work in the caller, so that a simulation is
    deterministic; such a table belongs to one thread.
    """

    joins = True
    spread = TOGETHER

    def __init__(self, place: Place, *, reads_only: bool = False, threaded: bool = True) -> None:
        self._place = place
        self._threaded = threaded
        self._notices = Notices(place)
        self._reads_only = reads_only
        self._lines: dict[asyncio.AbstractEventLoop, Line | BlockingLine] = {}
        self._gate = threading.Lock()
        self._closed = False
        forks.withhold(self)

    def after_fork(self) -> list[int]:
        """A connection must not be used by two processes. See `rewake.forks`."""
        lines = list(self._lines.values())
        read_and_written = [number for line in lines for number in line.descriptors()]
        return read_and_written + self._notices.descriptors()

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        inside = flight_of(self)
        if inside is not None:
            return await inside.get(key)
        return await self._line().reads.get(key)

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys, by one statement."""
        inside = flight_of(self)
        if inside is not None:
            return [await inside.get(key) for key in keys]
        return await self._line().reads.get_many(keys)

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        inside = flight_of(self)
        if inside is not None:
            return await inside.put(key, item, absent=absent)
        return await self._do(lambda flight: flight.put(key, item, absent=absent))

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
        inside = flight_of(self)
        if inside is not None:
            return await inside.update(key, when, set, add, create)
        return await self._do(lambda flight: flight.update(key, when, set, add, create))

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
        where = (partition, prefix, limit, cursor, reverse)
        inside, line = flight_of(self), self._line()
        if inside is not None:
            return await asked(lambda: line.inner.query(*where, inside))
        return await line.reads.query(*where)

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
        where = (until, limit, tag, partition, after)
        inside, line = flight_of(self), self._line()
        if inside is not None:
            return await asked(lambda: line.inner.due(*where, inside))
        return await line.reads.due(*where)

    async def delete(self, keys: Sequence[Key], *, when: When = ()) -> None:
        """Remove items, each if `when` holds, all or none; a missing one is no error."""
        inside = flight_of(self)
        if inside is not None:
            await inside.delete(keys, when)
        else:
            await self._do(lambda flight: flight.delete(keys, when))

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        inside = flight_of(self)
        if inside is not None:
            inside.put_blob(run, name, data)
        else:  # by itself, for it takes long
            self._refuse_if_reading()
            await self._line().reads.put_blob(run, name, data)

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        inside, line = flight_of(self), self._line()
        if inside is None:
            return await line.reads.get_blob(run, name)
        if (run, name) in inside.blobs:
            return inside.blobs[run, name]
        return await asked(lambda: line.inner.get_blob(run, name))

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove large values of a run, at most so many. Whether there may be more."""
        self._refuse_if_reading()
        inside, line = flight_of(self), self._line()
        if inside is not None:
            return await asked(lambda: line.inner.delete_blobs(run, limit))
        return await line.reads.delete_blobs(run, limit)

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in one flight: all of its writes, or none if it raises.

        It runs in the caller's context, and may be run again after nothing of it was written. It
        may await nothing but this table. Raises `RuntimeError` if it does.
        """
        if flight_of(self) is not None or self._reads_only:
            return await work()
        return await self._do(lambda _: work())

    async def listen(self, heard: Callable[[], object]) -> None:
        """Call `heard` when another process has written something that is due. See `Herald`."""
        if self._threaded:
            await self._notices.listen(heard)

    async def partitions(self, after: str, limit: int) -> list[str]:
        """The partitions behind this one. See `Listing`."""
        return await self._line().reads.partitions(after, limit)

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The large values behind this one."""
        return await self._line().reads.blobs(after, limit)

    async def stamp(self) -> str:
        """Nothing: a server does not tell whether a schema was written."""
        return ""

    async def close(self) -> None:
        """Finish the writes that wait, then close all connections. Later calls are refused."""
        here = self._lines.get(asyncio.get_running_loop())
        if here is not None:
            await here.close()
        with self._gate:
            self._closed = True
            lines, self._lines = list(self._lines.values()), {}
        for line in lines:
            if line.loop.is_running():
                line.loop.call_soon_threadsafe(line.drop)
            else:
                line.drop()

    async def _do(self, work: Callable[[Flight], Awaitable[T]]) -> T:
        self._refuse_if_reading()
        return cast(T, await self._line().run(Job(work)))

    def _refuse_if_reading(self) -> None:
        if self._reads_only:
            raise StoreUnavailable("the database is open for reading only")

    def _line(self) -> Line | BlockingLine:
        """The line of the calling event loop."""
        loop = asyncio.get_running_loop()
        line = self._lines.get(loop)
        return line if line is not None else self._new_line(loop)

    def _new_line(self, loop: asyncio.AbstractEventLoop) -> Line | BlockingLine:
        with self._gate:
            if self._closed:
                raise StoreUnavailable("the table is closed")
            for closed in [each for each in self._lines if each.is_closed()]:
                self._lines.pop(closed).drop()
            self._lines[loop] = line = (
                Line(self, self._place, self._notices)
                if self._threaded
                else BlockingLine(self, self._place, connect_blocking(self._place))
            )
            return line

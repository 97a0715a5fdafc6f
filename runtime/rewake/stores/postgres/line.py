"""The connections of one event loop to a database, and what waits for them.

Writes go one flight at a time: what comes meanwhile waits for the next one, so the more there is to
do, the more share a round trip and a commit. Reads have connections of their own, a few.

A connection that was idle is looked at before it is used: a server that was restarted has closed
it, and a statement that is sent then may or may not have been carried out, for all one knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from rewake.errors import StoreError, StoreUnavailable, StoreUnsuitable
from rewake.stores.postgres.connecting import Tuple, connect, in_time, is_stale
from rewake.stores.postgres.faults import is_locked, is_lost, is_undone, while_open
from rewake.stores.postgres.flight import Backend, Blobs, Job, Row, fly
from rewake.stores.postgres.known import Known
from rewake.stores.postgres.notices import NOTIFY, Notices, Telling
from rewake.stores.postgres.place import Place
from rewake.stores.postgres.rows import LARGE, Rows
from rewake.stores.table import Key

T = TypeVar("T")
READERS = 4
"""The most connections of one event loop that read."""
MOVERS = 2
"""So many of them may be taken by what is large: who reads what is small waits for none of that."""
MOST = 256
"""The most jobs of a flight: it must not take long, for it locks what it writes."""
WAITS = 4
"""So many locks are waited for, of jobs that fly one by one; then it is asked who is held."""
_AGAIN = 5
"""How often a statement that was certainly undone is carried out."""


class Line:
    """What one event loop has of a database."""

    def __init__(self, table: object, place: Place, notices: Notices) -> None:
        self.loop = asyncio.get_running_loop()
        self.known = Known()
        self.reads = self.inner = Rows(place.schema, self._read)
        self._table = table
        self._place = place
        self._notices = notices
        self._telling = Telling(lambda: self._read(NOTIFY, notices.values))
        self._writes = Rows(place.schema, self._write)
        self._writer: AsyncConnection[Tuple] | None = None
        self._idle: list[AsyncConnection[Tuple]] = []
        self._all: set[AsyncConnection[Tuple]] = set()
        self._past: set[AsyncConnection[Tuple]] = set()
        self._free = asyncio.Semaphore(READERS)
        self._moving = asyncio.Semaphore(MOVERS)
        self._waiting: list[tuple[Job, asyncio.Future[Any]]] = []
        self._flying: asyncio.Task[None] | None = None
        self._worked = False
        self._closed = False

    async def run(self, job: Job) -> Any:
        """Do a job in the next flight."""
        self._refuse_if_closed()
        done: asyncio.Future[Any] = self.loop.create_future()
        self._waiting.append((job, done))
        if self._flying is None:
            self._flying = self.loop.create_task(self._fly())
        return await done

    async def close(self) -> None:
        """Carry out what waits, then close all connections."""
        if self._flying is not None:
            await asyncio.wait([self._flying])
        await self._telling.close()
        self.drop()

    def drop(self) -> None:
        """Close all connections, from wherever."""
        self._closed = True
        for each in list(self._all):
            each.pgconn.finish()
        self._all.clear()

    def descriptors(self) -> list[int]:
        """The numbers under which this process has the connections open."""
        return [each.fileno() for each in list(self._all) if not each.closed]

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the table is closed")

    # --- flights -------------------------------------------------------------------------------

    async def _fly(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting[:MOST], self._waiting[MOST:]
                await self._fly_once(waiting)
        finally:
            self._flying = None

    async def _fly_once(
        self, waiting: Sequence[tuple[Job, asyncio.Future[Any]]], alone: _Alone | None = None
    ) -> None:
        jobs = [job for job, _ in waiting]
        try:
            rows = await fly(self._table, jobs, alone or self._writes, self.known)
            if self._notices.are_due(rows):
                self._telling.tell()
        except Exception as error:
            if is_locked(error) and len(waiting) > 1:
                # Some of them wait for somebody's lock: they must not hold up the others.
                alone = _Alone(self._writes)
                for each in waiting:
                    await self._fly_once([each], alone)
                return
            _fail(jobs, error)
        except BaseException as error:
            _fail(jobs, error)
            _answer(waiting)
            raise
        _answer(waiting)

    async def _write(self, statement: str, values: Sequence[Any], *, moves: int = 0) -> list[Tuple]:
        if self._writer is None or self._writer not in self._all or self._is_stale(self._writer):
            self._writer = await self._connected()
        return await self._carry_out(self._writer, statement, values, moves)

    # --- reads ---------------------------------------------------------------------------------

    async def _read(self, statement: str, values: Sequence[Any], *, moves: int = 0) -> list[Tuple]:
        if moves > LARGE:
            async with self._moving:
                return await self._read_again(statement, values, moves)
        return await self._read_again(statement, values, moves)

    async def _read_again(self, statement: str, values: Sequence[Any], moves: int) -> list[Tuple]:
        try:
            return await self._read_once(statement, values, moves)
        except StoreUnavailable as error:
            if not is_lost(error):
                raise
            return await self._read_once(statement, values, moves)  # twice is as good as once

    async def _read_once(self, statement: str, values: Sequence[Any], moves: int) -> list[Tuple]:
        self._refuse_if_closed()
        free = self._free.acquire()
        # A server that is silent takes all connections: who waits for one is told so in time.
        await (in_time(free, self._place) if self._free.locked() else free)
        try:
            return await self._read_by_one(statement, values, moves)
        finally:
            self._free.release()

    async def _read_by_one(self, statement: str, values: Sequence[Any], moves: int) -> list[Tuple]:
        connection = None
        while self._idle and (connection is None or self._is_stale(connection)):
            connection = self._idle.pop()
        if connection is None or self._is_stale(connection):
            connection = await self._connected()
        try:
            return await self._carry_out(connection, statement, values, moves)
        finally:
            if connection in self._past:
                self._discard(connection)
            elif connection in self._all:
                self._idle.append(connection)

    # --- connections ---------------------------------------------------------------------------

    async def _connected(self) -> AsyncConnection[Tuple]:
        self._refuse_if_closed()
        try:
            made = await connect(self._place)
        except StoreUnsuitable as error:
            if not self._worked:
                raise
            raise StoreUnavailable(str(error)) from error  # it was suitable, and may be again
        if self._closed:
            made.pgconn.finish()
            self._refuse_if_closed()
        self._worked = True
        self._all.add(made)
        return made

    def _is_stale(self, connection: AsyncConnection[Tuple]) -> bool:
        """Whether an idle connection is of no use any more; then it is closed."""
        stale = connection in self._past or is_stale(connection)
        if stale:
            self._discard(connection)
        return stale

    def _discard(self, connection: AsyncConnection[Tuple]) -> None:
        self._all.discard(connection)
        self._past.discard(connection)
        connection.pgconn.finish()

    def _give_up_all(self) -> None:
        """Ask nothing more by the connections there are: what is read of a replica may be old."""
        self._past |= self._all
        while self._idle:
            self._discard(self._idle.pop())

    async def _carry_out(
        self, connection: AsyncConnection[Tuple], statement: str, values: Sequence[Any], moves: int
    ) -> list[Tuple]:
        """One statement; a connection that may be in the middle of it is given up."""
        whole = False
        try:
            carrying_out = _execute(connection, statement, values)
            found = await in_time(carrying_out, self._place, moves=moves)
            whole = True
            return found
        except psycopg.Error as error:
            # A replica that only reads was the master before, or will be: ask for it again.
            kind = (error.sqlstate or "57")[:2]
            whole = not connection.closed and kind not in ("25", "57", "08")
            if kind == "25":
                self._give_up_all()
            raise while_open(error) from error
        finally:
            if not whole:
                self._discard(connection)


class _Alone(Backend):
    """Writes of jobs that fly one by one: what one of them has waited for no other waits for."""

    def __init__(self, writes: Backend) -> None:
        self._writes = writes
        self._held: dict[Key, StoreError] = {}
        self._waited = 0

    async def fetch(self, keys: Sequence[Key]) -> dict[Key, bytes]:
        return await self._writes.fetch(keys)

    async def write(self, rows: Sequence[Row], blobs: Blobs) -> dict[Key, bytes | None]:
        for row in rows:
            if row.key in self._held:
                raise self._held[row.key]
        if self._waited >= WAITS:  # somebody holds many: a wait for each would hold up all others
            await self._refuse_held(rows)
        try:
            return await self._writes.write(rows, blobs)
        except StoreError as error:
            if is_locked(error):
                self._waited += 1
                self._held |= {row.key: error for row in rows}
            raise

    async def _refuse_held(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if await self._writes.is_held(row.key):
                self._held[row.key] = error = next(iter(self._held.values()))
                raise error


async def _execute(
    connection: AsyncConnection[Tuple], statement: str, values: Sequence[Any]
) -> list[Tuple]:
    for left in reversed(range(_AGAIN)):
        try:
            cursor = await connection.execute(statement, values, binary=True)
            return await cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            if not left or not is_undone(error):
                raise
    raise AssertionError("unreachable")


def _fail(jobs: Sequence[Job], error: BaseException) -> None:
    """Let each have an error of its own, of the flight that failed as a whole."""
    for job in jobs:
        own = error
        if isinstance(error, StoreError):
            own = type(error)(str(error))
            own.__cause__ = error.__cause__
        elif not isinstance(error, Exception):
            own = StoreUnavailable("it was cut short")
        job.error = job.error or own


def _answer(waiting: Sequence[tuple[Job, asyncio.Future[Any]]]) -> None:
    for job, done in waiting:
        if done.done():
            continue  # its caller was cancelled
        if job.error is not None:
            done.set_exception(job.error)
        else:
            done.set_result(job.value)

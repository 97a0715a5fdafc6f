"""A table in one SQLite file, which any number of threads and processes may share.

The cost of a durable write is the sync at its COMMIT, so commits are what is shared. One thread
per table takes everything that waits, runs it in one transaction, commits once, and only then
answers: under load a commit carries hundreds of writes, and alone a write waits for nobody. Jobs
in a transaction stay independent. A write touches one row, so one that fails leaves nothing
behind; a job of several writes runs in a savepoint. Only when SQLite gives up the whole
transaction (no room, an I/O error) do all jobs of it fail, and then none of them happened.

Reads never enter that queue. In WAL mode a reader neither blocks nor is blocked, and a look-up
takes less time than waking a thread would, so they run where they are called, on a connection of
their own. They see all that was committed, hence every write that was answered.

A transaction begins IMMEDIATE: a lock that is taken late can be refused late, after work was
done. One that turns out to change nothing commits without writing, and so without a sync.

The file is marked as Rewake's. A file with another mark, or of a newer schema, is left alone.
"""

from __future__ import annotations

import asyncio
import contextvars
import queue
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import closing, suppress
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, cast

from rewake.errors import (
    CheckpointUnreadable,
    StoreError,
    StoreFull,
    StoreUnavailable,
    StoreUnsuitable,
)
from rewake.records import Item, Millis
from rewake.stores.memory import change, decode, encode
from rewake.stores.table import Due, Key, Page, T, When, Written

APPLICATION_ID = int.from_bytes(b"Rwke", "big")
"""Marks a SQLite file as Rewake's (`PRAGMA application_id`)."""

SCHEMA_VERSION = 1
"""The layout of the file (`PRAGMA user_version`)."""

_SCHEMA = (
    "CREATE TABLE items (partition TEXT NOT NULL, sort TEXT NOT NULL, due INTEGER,"
    " body BLOB NOT NULL, PRIMARY KEY (partition, sort)) WITHOUT ROWID",
    "CREATE INDEX items_due ON items (due) WHERE due IS NOT NULL",
    "CREATE TABLE blobs (run TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (run, name))",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_GET = "SELECT body FROM items WHERE partition = ? AND sort = ?"
_INSERT = "INSERT INTO items VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_WRITE = (
    "INSERT INTO items VALUES (?, ?, ?, ?) ON CONFLICT (partition, sort) DO UPDATE"
    " SET due = excluded.due, body = excluded.body"
)
_DELETE = "DELETE FROM items WHERE partition = ? AND sort = ?"
_RANGE = "SELECT sort, body FROM items WHERE partition = ? AND sort >= ? AND sort < ?"
_FORWARD = f"{_RANGE} ORDER BY sort LIMIT ?"
_BACKWARD = f"{_RANGE} ORDER BY sort DESC LIMIT ?"
_DUE = "SELECT due, partition, sort FROM items WHERE due <= ? ORDER BY due, partition, sort LIMIT ?"
_PUT_BLOB = "INSERT INTO blobs VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
_GET_BLOB = "SELECT data FROM blobs WHERE run = ? AND name = ?"

_AFTER_ALL_TEXT = b""  # SQLite orders every blob after every text.
_LAST_CHARACTER = "\U0010ffff"
_NO_LIMIT = -1
_SYNCHRONOUS_OFF, _SYNCHRONOUS_FULL = 0, 2


class SqliteTable:
    """A `Table` in the SQLite file `path`, which is made if there is none.

    `busy` is how many seconds to wait for other processes before `StoreUnavailable`. With
    `threaded=False` there is no thread: each call gives way to the event loop once and then does
    its work in the caller, in a transaction of its own, so that a simulation is deterministic;
    such a table belongs to one thread. `durable=False` leaves out every sync and may lose
    or damage the file in a power cut: for tests only.

    `commits` counts the transactions so far that changed something.
    """

    def __init__(
        self,
        path: str | PathLike[str],
        *,
        threaded: bool = True,
        durable: bool = True,
        busy: float = 5.0,
    ) -> None:
        file = Path(path).absolute()
        try:
            _refuse_foreign(file, busy)
            self._writer = _Rows(_connect(file, durable, busy))
            self._reader = _Rows(_connect(file, durable, busy)) if threaded else self._writer
        except sqlite3.Error as error:
            raise _translate(error, f"{file}: ") from error
        self.commits = 0
        self._closed = False
        self._gate = threading.Lock()
        self._reading = threading.Lock()
        self._inside: int | None = None
        self._queue: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        if threaded:
            self._thread = threading.Thread(target=self._serve, name="rewake-sqlite", daemon=True)
            self._thread.start()

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        return await self._read(lambda rows: rows.get(key))

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        """Write the whole item; with `absent`, only if there is none."""
        # Encoded by the caller: an item that cannot be stored never reaches the others' batch.
        body = encode(item)
        stored = decode(key, body)
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

    async def due(self, until: Millis, *, limit: int) -> list[Due]:
        """The earliest entries of the due index at or before `until`, by due time."""
        return await self._read(lambda rows: rows.due(until, limit))

    async def delete(self, keys: Sequence[Key]) -> None:
        """Remove items, all or none; a missing one is no error."""
        await self._write(lambda rows: rows.delete(keys), several=len(keys) > 1)

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        await self._write(lambda rows: rows.put_blob(run, name, data))

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        return await self._read(lambda rows: rows.get_blob(run, name))

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` in one transaction: all of its writes, or none if it raises.

        It runs on the writer's thread, in the caller's context, and may await nothing but this
        table (`RuntimeError` otherwise).
        """
        if self._inside == threading.get_ident():
            return await work()
        context = contextvars.copy_context()
        return await self._write(lambda _: context.run(self._drive, work), several=True)

    async def close(self) -> None:
        """Finish the writes that wait, then let go of the file. Later calls are refused."""
        with self._gate:
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._reader.connection.close()
        self._writer.connection.close()

    # --- the callers' side ---------------------------------------------------------------------

    async def _read(self, run: Callable[[_Rows], T]) -> T:
        if self._inside == threading.get_ident():
            return self._run_inside(run)
        if self._thread is None:
            await asyncio.sleep(0)
        self._refuse_if_closed()
        try:
            with self._reading:
                return run(self._reader)
        except sqlite3.Error as error:
            raise _translate(error) from error

    async def _write(self, run: Callable[[_Rows], T], *, several: bool = False) -> T:
        if self._inside == threading.get_ident():
            return self._run_inside(run)
        if self._thread is None:
            await asyncio.sleep(0)
            self._refuse_if_closed()
            return self._run_alone(run, several)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        with self._gate:
            self._refuse_if_closed()
            self._queue.put(_Job(run, several, loop, future))
        return await future

    def _run_inside(self, run: Callable[[_Rows], T]) -> T:
        # Work that caught the error that cost it the transaction must not write outside of one.
        if not self._writer.connection.in_transaction:
            raise StoreUnavailable("the transaction has been rolled back")
        try:
            return run(self._writer)
        except sqlite3.Error as error:
            raise _translate(error) from error

    def _run_alone(self, run: Callable[[_Rows], T], several: bool) -> T:
        (end,) = self._commit([_Job(run, several, None, None)])
        if end.error is not None:
            raise end.error
        return cast(T, end.value)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the table is closed")

    # --- the writer's side ---------------------------------------------------------------------

    def _serve(self) -> None:
        while self._serve_waiting():
            pass

    def _serve_waiting(self) -> bool:
        # A method of its own, so that an idle thread holds on to no former job.
        waiting = [self._queue.get()]
        waiting += [self._queue.get() for _ in range(self._queue.qsize())]
        jobs = [job for job in waiting if job is not None]
        if jobs:
            _answer(jobs, self._commit(jobs))
        return len(jobs) == len(waiting)

    def _commit(self, jobs: Sequence[_Job]) -> list[_End]:
        """Run all jobs in one transaction: how each ended, once that is certain."""
        connection = self._writer.connection
        before = connection.total_changes
        try:
            connection.execute("BEGIN IMMEDIATE")
            ends = [self._attempt(job) for job in jobs]
            connection.execute("COMMIT")
        except BaseException as error:  # The callers are told; the thread lives on.
            with suppress(sqlite3.Error):
                connection.rollback()
            return [_End(None, _lost(error)) for _ in jobs]
        self.commits += connection.total_changes != before
        return ends

    def _attempt(self, job: _Job) -> _End:
        try:
            if job.several:
                return _End(self._all_or_nothing(job), None)
            return _End(job.run(self._writer), None)
        except BaseException as error:
            if not self._writer.connection.in_transaction:
                raise  # SQLite gave up the neighbours' work too.
            return _End(None, _translate(error))

    def _all_or_nothing(self, job: _Job) -> Any:
        connection = self._writer.connection
        connection.execute("SAVEPOINT job")
        try:
            value = job.run(self._writer)
        except BaseException:
            try:
                connection.execute("ROLLBACK TO job")
                connection.execute("RELEASE job")
            except sqlite3.Error:
                connection.rollback()  # Rather nobody's writes than half of these.
            raise
        connection.execute("RELEASE job")
        return value

    def _drive(self, work: Callable[[], Awaitable[T]]) -> T:
        self._inside = threading.get_ident()
        try:
            steps = work().__await__()
            try:
                next(steps)
            except StopIteration as end:
                return cast(T, end.value)
            steps.close()
            raise RuntimeError("work that runs together may await nothing but its table")
        finally:
            self._inside = None


class _Job(NamedTuple):
    """Something to do in a transaction, and who waits for it. `several`: it may write twice."""

    run: Callable[[_Rows], Any]
    several: bool
    loop: asyncio.AbstractEventLoop | None
    future: asyncio.Future[Any] | None


class _End(NamedTuple):
    """How a job ended."""

    value: Any
    error: BaseException | None


def _answer(jobs: Sequence[_Job], ends: Sequence[_End]) -> None:
    """Tell every caller, waking each event loop once: waking is what costs."""
    by_loop: dict[Any, list[tuple[Any, _End]]] = {}
    for job, end in zip(jobs, ends, strict=True):
        by_loop.setdefault(job.loop, []).append((job.future, end))
    for loop, answers in by_loop.items():
        with suppress(RuntimeError):  # A closed loop: nobody waits there any more.
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: Sequence[tuple[asyncio.Future[Any], _End]]) -> None:
    for future, end in answers:
        if future.done():
            continue  # The caller was cancelled.
        if end.error is None:
            future.set_result(end.value)
        else:
            future.set_exception(end.error)


class _Rows:
    """The rows as one connection sees them. It neither begins nor commits, and never waits."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self._execute = connection.cursor().execute

    def get(self, key: Key) -> Any:
        rows = self._execute(_GET, (key.partition, key.sort)).fetchall()
        return decode(key, rows[0][0]) if rows else None

    def insert(self, key: Key, item: Item, body: bytes) -> Written:
        made = self._execute(_INSERT, _row(key, item, body)).rowcount
        return Written(True, item) if made else Written(False, self.get(key))

    def replace(self, key: Key, item: Item, body: bytes) -> Written:
        self._execute(_WRITE, _row(key, item, body))
        return Written(True, item)

    def update(self, key: Key, made: Callable[[Item | None], Item | None]) -> Written:
        found = self.get(key)
        item = made(found)
        if item is None:
            return Written(False, found)
        body = encode(item)
        # Decoded before it is kept: what could not be read back is never written.
        return self.replace(key, decode(key, body), body)

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

    def due(self, until: Millis, limit: int) -> list[Due]:
        rows = self._execute(_DUE, (until, limit)).fetchall()
        return [Due(due, Key(partition, sort)) for due, partition, sort in rows]

    def delete(self, keys: Sequence[Key]) -> None:
        self.connection.executemany(_DELETE, [(key.partition, key.sort) for key in keys])

    def put_blob(self, run: str, name: str, data: bytes) -> None:
        self._execute(_PUT_BLOB, (run, name, data))

    def get_blob(self, run: str, name: str) -> bytes:
        rows = self._execute(_GET_BLOB, (run, name)).fetchall()
        if not rows:
            raise CheckpointUnreadable(f"run {run} has no stored value {name!r}")
        return cast(bytes, rows[0][0])


def _row(key: Key, item: Item, body: bytes) -> tuple[str, str, Millis | None, bytes]:
    return (key.partition, key.sort, getattr(item, "due", None), body)


def _after(prefix: str) -> str | bytes:
    """The least thing that SQLite orders after every text that starts with `prefix`."""
    stem = prefix.rstrip(_LAST_CHARACTER)
    if not stem:
        return _AFTER_ALL_TEXT
    last = stem[-1]
    # The surrogates in between are no characters and cannot be stored.
    return stem[:-1] + ("\ue000" if last == "\ud7ff" else chr(ord(last) + 1))


# --- opening a file ----------------------------------------------------------------------------


def _refuse_foreign(file: Path, busy: float) -> None:
    """Look whose file it is without changing a byte of it.

    Closing a read-write connection folds a crashed program's log into its file; opening a
    read-only one leaves an empty log beside a file that had none. Hence the choice of mode.
    """
    if not file.exists() or not file.stat().st_size:
        return
    crashed_or_open = any(Path(f"{file}{end}").exists() for end in ("-wal", "-journal"))
    try:
        _look(file, "ro" if crashed_or_open else "rw", busy)
    except sqlite3.OperationalError as error:
        if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        # It needs a recovery first, which is no more than any reader of it would do.
        _look(file, "rw", busy)


def _look(file: Path, mode: str, busy: float) -> None:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, timeout=busy)) as look:
        _is_new(look, file)


def _is_new(connection: sqlite3.Connection, file: Path) -> bool:
    mark, version = _ask(connection, "application_id"), _ask(connection, "user_version")
    if mark == APPLICATION_ID:
        if version > SCHEMA_VERSION:
            raise StoreUnsuitable(f"{file} was written by a newer Rewake (layout {version})")
        return False
    if mark or version or connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall():
        raise StoreUnsuitable(f"{file} belongs to another program")
    return True


def _connect(file: Path, durable: bool, busy: float) -> sqlite3.Connection:
    connection = sqlite3.connect(file, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        _use_wal(connection, file, busy)
        _use_synchronous(connection, file, _SYNCHRONOUS_FULL if durable else _SYNCHRONOUS_OFF)
        _make_if_new(connection, file)
    except BaseException:
        connection.close()
        raise
    return connection


def _use_wal(connection: sqlite3.Connection, file: Path, busy: float) -> None:
    deadline = time.monotonic() + busy
    while (mode := _switch_to_wal(connection)) is None:
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{file} is in use by another program")
        time.sleep(0.01)
    if mode != "wal":
        raise StoreUnsuitable(f"{file}: WAL mode does not work here")


def _switch_to_wal(connection: sqlite3.Connection) -> str | None:
    """The journal mode now; None when two processes switch a new file: SQLite does not wait."""
    try:
        return cast(str, _ask(connection, "journal_mode = WAL"))
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_BUSY:
            raise
        return None


def _use_synchronous(connection: sqlite3.Connection, file: Path, level: int) -> None:
    connection.execute(f"PRAGMA synchronous = {level}")
    # An unknown setting is silently ignored, so what counts is what it says now.
    if _ask(connection, "synchronous") != level:
        raise StoreUnsuitable(f"{file}: SQLite refuses synchronous = {level}")


def _make_if_new(connection: sqlite3.Connection, file: Path) -> None:
    if not _is_new(connection, file):
        return
    connection.execute("BEGIN IMMEDIATE")
    if _is_new(connection, file):  # Nobody else has made it meanwhile.
        for statement in _SCHEMA:
            connection.execute(statement)
    connection.execute("COMMIT")


def _ask(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


# --- errors ------------------------------------------------------------------------------------

_KINDS: Mapping[int, type[StoreError]] = {
    sqlite3.SQLITE_FULL: StoreFull,
    sqlite3.SQLITE_NOTADB: StoreUnsuitable,
    sqlite3.SQLITE_BUSY: StoreUnavailable,
    sqlite3.SQLITE_LOCKED: StoreUnavailable,
    sqlite3.SQLITE_PROTOCOL: StoreUnavailable,
    sqlite3.SQLITE_IOERR: StoreUnavailable,
    sqlite3.SQLITE_CANTOPEN: StoreUnavailable,
    sqlite3.SQLITE_READONLY: StoreUnavailable,
    sqlite3.SQLITE_NOMEM: StoreUnavailable,
}


def _code(error: sqlite3.Error) -> int:
    """The primary result code, or -1 for an error of the Python module's own."""
    code: int = getattr(error, "sqlite_errorcode", -1)
    return code & 0xFF if code >= 0 else -1


def _translate(error: BaseException, prefix: str = "") -> BaseException:
    """The error to raise: SQLite's as Rewake's, any other as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = _code(error)
    if code < 0:
        return error
    told = _KINDS.get(code, StoreError)(f"{prefix}{error}")
    told.__cause__ = error
    return told


def _lost(error: BaseException) -> BaseException:
    """What to tell one caller of many after the whole transaction was given up."""
    told = _translate(error)
    kind = type(told) if isinstance(told, StoreError) else StoreUnavailable
    own = kind(f"the transaction was rolled back: {told}")
    own.__cause__ = error
    return own

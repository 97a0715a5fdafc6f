"""How a SQLite file is opened for a table, and what SQLite's errors mean.

The file is marked as Rewake's. A file with another mark, or of a newer schema, is left alone.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from os import PathLike
from pathlib import Path
from typing import Any, cast

from rewake.errors import StoreError, StoreFull, StoreUnavailable, StoreUnsuitable

APPLICATION_ID = int.from_bytes(b"Rwke", "big")
"""Marks a SQLite file as Rewake's (`PRAGMA application_id`)."""

SCHEMA_VERSION = 2
"""The layout of the file (`PRAGMA user_version`)."""

_INDEX = "CREATE INDEX items_due ON items (tag, due) WHERE due IS NOT NULL"
_SCHEMA = (
    "CREATE TABLE items (partition TEXT NOT NULL, sort TEXT NOT NULL, due INTEGER,"
    " body BLOB NOT NULL, tag TEXT NOT NULL DEFAULT '', PRIMARY KEY (partition, sort))"
    " WITHOUT ROWID",
    _INDEX,
    "CREATE TABLE blobs (run TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (run, name))",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

_SINCE: Mapping[int, Sequence[str]] = {
    1: (
        "ALTER TABLE items ADD COLUMN tag TEXT NOT NULL DEFAULT ''",
        "DROP INDEX items_due",
        _INDEX,
        f"PRAGMA user_version = {SCHEMA_VERSION}",
    ),
}
"""By an older layout: what changed since."""

LOG_BYTES = 8 * 1024 * 1024
"""The most bytes that the log beside the file keeps once nobody reads the older ones."""

LOG_RESERVED = 4 * 1024 * 1024
"""So many bytes of the log are reserved: it is written from its start again after 1,000 pages."""

_SYNCHRONOUS_OFF, _SYNCHRONOUS_FULL = 0, 2


def real(path: str | PathLike[str]) -> Path:
    """Where a file really lies: SQLite follows links, and keeps the log beside that."""
    return Path(os.path.realpath(path))


def refuse_foreign(file: Path, busy: float) -> None:
    """Raise `StoreUnsuitable` for another program's file, without changing a byte of it.

    Closing a read-write connection folds a crashed program's log into its file; opening a
    read-only one leaves an empty log beside a file that had none. Hence the choice of mode.
    """
    if not file.exists() or not file.stat().st_size:
        return
    crashed_or_open = any(Path(f"{file}{end}").exists() for end in ("-wal", "-journal"))
    try:
        _refuse_if_foreign(file, "ro" if crashed_or_open else "rw", busy)
    except sqlite3.OperationalError as error:
        if _code(error) not in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise
        # The file needs a recovery first, which any reader of it would do.
        _refuse_if_foreign(file, "rw", busy)


def _refuse_if_foreign(file: Path, mode: str, busy: float) -> None:
    with closing(sqlite3.connect(f"{file.as_uri()}?mode={mode}", uri=True, timeout=busy)) as opened:
        _is_new(opened, file)


def _is_new(connection: sqlite3.Connection, file: Path) -> bool:
    # The second answer decides: another process may be making the file between our questions.
    for _ in range(2):
        mark, version = _ask(connection, "application_id"), _ask(connection, "user_version")
        if mark == APPLICATION_ID:
            if version > SCHEMA_VERSION:
                raise StoreUnsuitable(f"{file} was written by a newer Rewake (layout {version})")
            return False
        tables = connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
        if not (mark or version or tables):
            return True
    raise StoreUnsuitable(f"{file} belongs to another program")


def connect(file: Path, durable: bool, busy: float) -> sqlite3.Connection:
    """A connection in WAL mode to the file, which is made if missing; `durable`: commits sync."""
    connection = sqlite3.connect(file, timeout=busy, isolation_level=None, check_same_thread=False)
    try:
        _give_back_later(connection)
        _use_wal(connection, file, busy)
        _use_synchronous(connection, file, _SYNCHRONOUS_FULL if durable else _SYNCHRONOUS_OFF)
        _make_if_new(connection, file)
        # A reader that stays long lets the log grow, and SQLite would never make it smaller.
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def refuse_read_only(connection: sqlite3.Connection) -> None:
    """Raise if nothing can be written: SQLite opens a file without the right to, and says nothing.

    The connection waits for nobody. Who is writing just now can write.
    """
    try:
        connection.execute("DELETE FROM items WHERE 0")  # a transaction of nothing may begin
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_BUSY:
            raise


def reserve_log(file: Path) -> None:
    """Give the log its blocks before they are needed: a sync of a file that grows takes longer.

    What is appended replaces nothing that another process is writing, and SQLite reads a log up to
    the first page that was not committed to it. Where there is little room it is left as it is.
    """
    try:
        log = os.open(f"{file}-wal", os.O_WRONLY | os.O_APPEND)
    except OSError:
        return
    with suppress(OSError), os.fdopen(log, "wb", buffering=0) as reserved:
        missing = LOG_RESERVED - os.fstat(log).st_size
        if missing > 0 and shutil.disk_usage(file.parent).free > 64 * LOG_RESERVED:
            reserved.write(bytes(missing))
            os.fsync(log)


def connect_to_read(file: Path, busy: float) -> sqlite3.Connection:
    """A connection that cannot change a byte of the file, its log or its folder's listing.

    A log beside the file means that a program has it open, or died: then this reader shares it.
    Without a log the file is all there is, and SQLite is told that nobody writes; otherwise even a
    read-only connection would leave an empty log.
    """
    if not file.is_file():
        raise StoreUnsuitable(f"there is no database {file}")
    alone = "" if Path(f"{file}-wal").exists() else "&immutable=1"
    where = f"{file.as_uri()}?mode=ro{alone}"
    connection = sqlite3.connect(
        where, uri=True, timeout=busy, isolation_level=None, check_same_thread=False
    )
    try:
        if _is_new(connection, file):
            raise StoreUnsuitable(f"{file} is empty")
    except BaseException:
        connection.close()
        raise
    return connection


def _give_back_later(connection: sqlite3.Connection) -> None:
    """Let a new file be one whose free pages can be given back; an older one stays as it is."""
    # A file has that from its first page on, which the switch to WAL mode writes.
    if not _ask(connection, "page_count"):
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")


def _use_wal(connection: sqlite3.Connection, file: Path, busy: float) -> None:
    deadline = time.monotonic() + busy
    while (mode := _switch_to_wal(connection)) is None:
        if time.monotonic() > deadline:
            raise StoreUnavailable(f"{file} is in use by another program")
        time.sleep(0.01)
    if mode != "wal":
        raise StoreUnsuitable(f"{file}: WAL mode does not work here")


def _switch_to_wal(connection: sqlite3.Connection) -> str | None:
    """Switch to WAL; the mode now, or None if another process is switching: SQLite never waits."""
    try:
        return cast(str, _ask(connection, "journal_mode = WAL"))
    except sqlite3.OperationalError as error:
        if _code(error) != sqlite3.SQLITE_BUSY:
            raise
        return None


def _use_synchronous(connection: sqlite3.Connection, file: Path, level: int) -> None:
    connection.execute(f"PRAGMA synchronous = {level}")
    # SQLite silently ignores an unknown setting, so only its answer counts.
    if _ask(connection, "synchronous") != level:
        raise StoreUnsuitable(f"{file}: SQLite refuses synchronous = {level}")


def _make_if_new(connection: sqlite3.Connection, file: Path) -> None:
    if not _missing(connection, file):
        return
    connection.execute("BEGIN IMMEDIATE")
    for statement in _missing(connection, file):  # Another process may have made it meanwhile.
        connection.execute(statement)
    connection.execute("COMMIT")


def _missing(connection: sqlite3.Connection, file: Path) -> Sequence[str]:
    """What makes a new file, or one of an older layout, one of this layout."""
    if _is_new(connection, file):
        return _SCHEMA
    return _SINCE.get(_ask(connection, "user_version"), ())


class OpenFile:
    """Notices that an open file was deleted or replaced, so that writes to it would vanish."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._identity = self._now()
        self._gone = False

    def check(self) -> None:
        """Note whether the file at the path is still the one that was opened."""
        self._gone = self._now() != self._identity

    def refuse_if_gone(self) -> None:
        """Raise `StoreUnavailable` if the last check found the file deleted or replaced."""
        if self._gone:
            raise StoreUnavailable(f"{self._file} was deleted or replaced; restart what uses it")

    def _now(self) -> tuple[int, int] | None:
        try:
            about = self._file.stat()
        except OSError:
            return None
        return about.st_dev, about.st_ino


def _ask(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]


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


def translate(error: BaseException, prefix: str = "") -> BaseException:
    """The error to raise: Rewake's for one of SQLite's, any other unchanged."""
    if not isinstance(error, sqlite3.Error):
        return error
    code = _code(error)
    if code < 0:
        return error
    told = _KINDS.get(code, StoreError)(f"{prefix}{error}")
    told.__cause__ = error
    return told


def rolled_back(error: BaseException) -> BaseException:
    """The error for one of many callers whose whole transaction was rolled back."""
    told = translate(error)
    kind = type(told) if isinstance(told, StoreError) else StoreUnavailable
    own = kind(f"the transaction was rolled back: {told}")
    own.__cause__ = error
    return own


def is_busy(error: BaseException) -> bool:
    """Whether a translated error means that another process is writing right now."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and _code(cause) == sqlite3.SQLITE_BUSY

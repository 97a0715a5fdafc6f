"""A SQLite table that can only be read, for showing a run without touching its file."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NoReturn

from rewake.errors import StoreUnavailable
from rewake.records import Millis
from rewake.stores.sqlite.file import connect_to_read, real, translate
from rewake.stores.sqlite.rows import Rows
from rewake.stores.table import Due, Key, Page, Spread, T


class SqliteReader:
    """The `Table` in the SQLite file `path`, of which no byte changes; every write is refused.

    Raises `StoreUnsuitable` if there is no such file, or it is not Rewake's. Reads run in the
    caller.
    """

    spread = Spread()

    def __init__(self, path: str | PathLike[str], *, busy: float = 5.0) -> None:
        self._file = file = real(path)
        self._alone, self._stamp = not _log_of(file).exists(), _stamp(file)
        try:
            self._rows = Rows(connect_to_read(file, busy))
        except sqlite3.Error as error:
            raise translate(error, f"{file}: ") from error

    def has_changed(self) -> bool:
        """Whether reads may be torn: the file was written since, and this reader cannot know it.

        A file without a log is read as if nobody wrote to it (see `connect_to_read`).
        """
        return self._alone and _stamp(self._file) != self._stamp

    async def get(self, key: Key) -> Any:
        """The item, or None."""
        return self._read(lambda rows: rows.get(key))

    async def get_many(self, keys: Sequence[Key]) -> list[Any]:
        """The items of these keys."""
        return self._read(lambda rows: [rows.get(key) for key in keys])

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
        return self._read(lambda rows: rows.query(partition, prefix, limit, cursor, reverse))

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
        return self._read(lambda rows: rows.due(until, limit, tag, partition, after))

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        return self._read(lambda rows: rows.get_blob(run, name))

    async def partitions(self, after: str, limit: int) -> list[str]:
        """The partitions behind this one. See `Listing`."""
        return self._read(lambda rows: rows.partitions(after, limit))

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The large values behind this one."""
        return self._read(lambda rows: rows.blobs(after, limit))

    async def stamp(self) -> str:
        """What is another text once anything was written: times and sizes of the file and log."""
        found = [each for each in (self._file, _log_of(self._file)) if each.exists()]
        stats = [each.stat() for each in found]
        return " ".join(f"{each.st_mtime_ns}/{each.st_size}" for each in stats if each.st_size)

    @property
    def joins(self) -> bool:
        """Whether `together` makes one write of many: it writes nothing."""
        return False

    async def together(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work`, in no transaction."""
        return await work()

    async def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise StoreUnavailable("the database is open for reading only")

    put = update = delete = put_blob = delete_blobs = _refuse

    async def close(self) -> None:
        """Close the file."""
        self._rows.connection.close()

    def _read(self, run: Callable[[Rows], T]) -> T:
        try:
            return run(self._rows)
        except sqlite3.Error as error:
            raise translate(error) from error


def _log_of(file: Path) -> Path:
    return Path(f"{file}-wal")


def _stamp(file: Path) -> object:
    if not file.exists():
        return None
    about = file.stat()
    return about.st_mtime_ns, about.st_size, _log_of(file).exists()

"""A shelf in a folder: a file for each value, below a folder for each run.

    FOLDER/<run>/<name>    for its owner only; whole, or not there

The first writing of a name stands, and is on the disk before `put_blob` returns.
"""

from __future__ import annotations

import asyncio
import errno
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from rewake.errors import CheckpointUnreadable, StoreUnavailable

T = TypeVar("T")


class FolderShelf:
    """A `Shelf` in a folder, which is made with the first value; but `root`, in which it is, has to
    be there: if it is not, nobody can tell what is, and nothing is written beside it.
    """

    def __init__(self, folder: Path, root: Path | None = None) -> None:
        self._folder = folder
        self._root = root or folder.parent

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a value under its run. Writing the same name again changes nothing."""
        await self._done(lambda: write_once(self._folder / run / name, data))

    async def get_blob(self, run: str, name: str) -> bytes:
        """A value. Raises `CheckpointUnreadable` if it is not there."""

        def read() -> bytes:
            try:
                return (self._folder / run / name).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                told = f"run {run} has no stored value {name!r}"
                raise CheckpointUnreadable(told) from None

        return await self._done(read)

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove values of a run, at most so many. Whether there may be more."""

        def remove() -> bool:
            files = _names(self._folder / run, drafts=True)[:limit]
            for name in files:
                (self._folder / run / name).unlink(missing_ok=True)
            with suppress(OSError):  # it has more, or was never there
                (self._folder / run).rmdir()
            return len(files) == limit

        return await self._done(remove)

    async def listed(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The values that there are, by run and name, behind this one."""

        def look() -> list[tuple[str, str]]:
            found = list[tuple[str, str]]()
            for run in _names(self._folder):
                if run < after[0] or len(found) >= limit:
                    continue
                names = _names(self._folder / run)
                found += [(run, name) for name in names if (run, name) > after]
            return found[:limit]

        return await self._done(look)

    async def close(self) -> None:
        """Nothing is open."""

    async def _done(self, work: Callable[[], T]) -> T:
        """What this comes to in a thread: a disk may be slow."""

        def there() -> T:
            if not self._root.is_dir():
                raise OSError(errno.ENOENT, f"{self._root} is gone")
            return work()

        try:
            return await asyncio.to_thread(there)
        except OSError as error:
            told = f"the folder {self._folder} cannot be used: {error.strerror or error}"
            raise StoreUnavailable(told) from error


def _names(folder: Path, *, drafts: bool = False) -> list[str]:
    """What is in a folder, by name; nothing if there is none. `drafts`: also those, of which a
    death may have left some.
    """
    try:
        found = sorted(each.name for each in folder.iterdir())
        return [name for name in found if drafts or not name.startswith(".")]
    except (FileNotFoundError, NotADirectoryError):
        return []


def write_once(path: Path, data: bytes) -> None:
    """Write a file, unless it is there; others see it whole or not at all."""
    made = [each for each in (path.parent, *path.parents) if not each.exists()]
    for folder in reversed(made):
        folder.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_name(f".{secrets.token_hex(8)}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):  # another process was first
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    for folder in dict.fromkeys((path.parent, *(each.parent for each in made))):
        _sync(folder)


def _sync(folder: Path) -> None:
    """Let the entries of a folder be on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

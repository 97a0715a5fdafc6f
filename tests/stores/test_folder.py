"""A shelf in a folder keeps what every shelf does, and writes whole files for its owner alone."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rewake.conformance import ShelfContract
from rewake.errors import StoreUnavailable
from rewake.stores.folder import FolderShelf
from rewake.stores.shelf import Shelf


class TestFolder(ShelfContract):
    """The contract of all shelves."""

    @asynccontextmanager
    async def shelf(self) -> AsyncIterator[Shelf]:
        """A folder that is made with the first value."""
        with tempfile.TemporaryDirectory() as folder:
            yield FolderShelf(Path(folder) / "new")


def test_values_are_listed_by_run_and_name(tmp_path: Path) -> None:
    """A page at a time, each once; what is no value is none of them."""

    async def body() -> None:
        shelf = FolderShelf(tmp_path / "day")
        assert await shelf.listed(("", ""), 9) == []
        wanted = [("r1", "0"), ("r1", "1"), ("r2", "0"), ("r3", "0")]
        for run, name in reversed(wanted):
            await shelf.put_blob(run, name, b"x")
        (tmp_path / "day" / "r1" / ".draft").touch()
        (tmp_path / "day" / "note").touch()
        found = list[tuple[str, str]]()
        while page := await shelf.listed(found[-1] if found else ("", ""), 2):
            assert len(page) <= 2
            found += page
        assert found == wanted

    asyncio.run(body())


def test_files_are_whole_and_of_their_owner(tmp_path: Path) -> None:
    """No draft stays, nobody else reads it; an emptied run leaves no folder."""

    async def body() -> None:
        shelf = FolderShelf(tmp_path / "day")
        await shelf.put_blob("r", "0", b"x")
        await shelf.put_blob("r", "0", b"y")
        [file] = (tmp_path / "day" / "r").iterdir()
        assert (file.read_bytes(), file.stat().st_mode & 0o777) == (b"x", 0o600)
        assert (tmp_path / "day").stat().st_mode & 0o777 == 0o700
        await shelf.delete_blobs("r", limit=1)
        assert list((tmp_path / "day").iterdir()) == []

    asyncio.run(body())


def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    """As an outage: it may pass."""
    (tmp_path / "day").touch()
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        asyncio.run(FolderShelf(tmp_path / "day").put_blob("r", "0", b"x"))

"""What a `Shelf` promises."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

from rewake.errors import CheckpointUnreadable
from rewake.stores.shelf import Shelf


class ShelfContract:
    """The tests of a place for large values. A class that inherits them says how to make one."""

    def shelf(self) -> AbstractAsyncContextManager[Shelf]:
        """A new and empty shelf, which is closed at the end of the block."""
        raise NotImplementedError("a contract is given a shelf: override `shelf`")

    def on_a_shelf(self, body: Callable[[Shelf], Awaitable[None]]) -> None:
        """Run `body` with a new shelf."""

        async def main() -> None:
            async with self.shelf() as shelf:
                await body(shelf)

        asyncio.run(main())

    def test_blobs(self) -> None:
        """A blob is kept under its run; the first writing of a name stands."""
        data = bytes(range(256)) * 4000

        async def body(shelf: Shelf) -> None:
            await shelf.put_blob("1", "a", data)
            await shelf.put_blob("1", "a", b"other")
            await shelf.put_blob("2", "a", b"")
            assert await shelf.get_blob("1", "a") == data
            assert await shelf.get_blob("2", "a") == b""
            with pytest.raises(CheckpointUnreadable):
                await shelf.get_blob("1", "b")

        self.on_a_shelf(body)

    def test_delete_blobs(self) -> None:
        """Values of a run are removed, so many at a time, and those of no other."""

        async def body(shelf: Shelf) -> None:
            for name in "abcde":
                await shelf.put_blob("1", name, name.encode())
            await shelf.put_blob("12", "a", b"other")
            times = 1
            while await shelf.delete_blobs("1", limit=2):
                times += 1
            assert times in (3, 4)  # that nothing is left may be told one call later
            for name in "abcde":
                with pytest.raises(CheckpointUnreadable):
                    await shelf.get_blob("1", name)
            assert await shelf.get_blob("12", "a") == b"other"
            assert not await shelf.delete_blobs("1", limit=2)
            await shelf.put_blob("1", "a", b"again")
            assert await shelf.get_blob("1", "a") == b"again"

        self.on_a_shelf(body)

    def test_blobs_of_many_at_once(self) -> None:
        """Each of many that are written and read at once comes back as it was."""

        async def body(shelf: Shelf) -> None:
            async def one(number: int) -> None:
                data = bytes([number]) * 5000
                await shelf.put_blob("1", f"n{number}", data)
                assert await shelf.get_blob("1", f"n{number}") == data

            await asyncio.gather(*(one(number) for number in range(16)))

        self.on_a_shelf(body)

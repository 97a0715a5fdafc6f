"""The contract of a place for large values: to keep bytes under a name, for a run.

A value that is too large for an item is put on a shelf, under the hash of its content, before the
item that names it is written. A table may be a shelf as well (SQLite and the one in memory are); a
database with small items has one beside it.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from rewake.errors import ConfigError


@runtime_checkable
class Shelf(Protocol):
    """The contract that every shelf keeps. Each method may raise `StoreUnavailable`."""

    async def put_blob(self, run: str, name: str, data: bytes) -> None:
        """Keep a large value under its run. Writing the same name again changes nothing."""
        ...

    async def get_blob(self, run: str, name: str) -> bytes:
        """A large value. Raises `CheckpointUnreadable` if it is not there."""
        ...

    async def delete_blobs(self, run: str, *, limit: int) -> bool:
        """Remove values of a run, at most so many. Whether there may be more.

        A run that has none is no error. What is put meanwhile may stay.
        """
        ...


def shelf_of(table: object) -> Shelf:
    """The table itself, which is a shelf as well. Raises `ConfigError` if it is none."""
    if not isinstance(table, Shelf):
        raise ConfigError(f"a {type(table).__name__} keeps no large values: give a shelf as well")
    return table

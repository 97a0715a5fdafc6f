"""The contract of what lists all that a database has. No table has to: it is for copying one."""

from __future__ import annotations

from typing import Protocol


class Listing(Protocol):
    """Lists in an order that is its own, and the same each time. It may be slow."""

    async def partitions(self, after: str, limit: int) -> list[str]:
        """The partitions that have items, behind this one; empty: from the beginning."""
        ...

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The large values, by run and name, behind this one."""
        ...

    async def stamp(self) -> str:
        """What is another text once anything was written; empty if that cannot be told."""
        ...

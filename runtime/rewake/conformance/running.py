"""How the tests of a table run: each in an event loop of its own, with a new table."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from functools import wraps
from typing import Any, TypeVar

from rewake.stores.table import Due, Key, Table

T = TypeVar("T")
Body = Callable[..., Coroutine[Any, Any, None]]

_POLL = 0.05


class OnTables:
    """What a contract of tables is told: how to make one, and what may be expected of it."""

    lag: float = 0.0
    """Seconds by which the due index may follow the items."""
    threads: bool = True
    """Whether the event loops of several threads may share a table, as a server's do."""
    examples: int = 60
    """How many random stories are played."""

    def table(self) -> AbstractAsyncContextManager[Table]:
        """A new and empty table, which is closed at the end of the block."""
        raise NotImplementedError("a contract is given a table: override `table`")

    async def stored(
        self,
        table: Table,  # noqa: ARG002
        key: Key,  # noqa: ARG002
        **added: str,  # noqa: ARG002
    ) -> Mapping[str, Any] | None:
        """The attributes of an item as they are stored, after these were added to it.

        None: they cannot be looked at, and what a newer version wrote is not tested.
        """
        return None

    def run(self, body: Callable[[Table], Awaitable[None]]) -> None:
        """Run `body` with a new table."""

        async def main() -> None:
            async with self.table() as table:
                await body(table)

        asyncio.run(main())

    async def due(self, table: Table, expected: list[Due], *args: Any, **named: Any) -> list[Due]:
        """Look into the due index, and see what is expected as soon as it has followed.

        Answers it in the order of the table, which is its own where several are due at once.
        """
        deadline = time.monotonic() + self.lag
        found = await table.due(*args, **named)
        while sorted(found) != sorted(expected) and time.monotonic() < deadline:
            await asyncio.sleep(_POLL)
            found = await table.due(*args, **named)
        assert sorted(found) == sorted(expected)
        assert found == sorted(found, key=lambda entry: entry.due)
        return found


def with_a_table(body: Body) -> Callable[..., None]:
    """Makes a test of a coroutine method that takes a table."""

    @wraps(body)
    def test(self: OnTables, **others: Any) -> None:
        self.run(lambda table: body(self, table, **others))

    # pytest asks for what the signature names.
    first, _, *others = inspect.signature(body).parameters.values()
    test.__signature__ = inspect.Signature([first, *others])  # type: ignore[attr-defined]
    return test

"""The kinds of tables that tests run on, each by a name: a new one is a row of `KINDS`."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from rewake.stores.memory import MemoryTable
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.sqlite.table import SqliteTable
from tests.support.aws import whole_table
from tests.support.postgres import binaries, emptied_schema, rest_of
from tests.support.stores import Sealed, WholeTable

Body = Callable[..., Awaitable[None]]
Opened = Callable[[], AbstractAsyncContextManager[WholeTable]]
"""Makes a new and empty table, which is closed at the end of the block."""


@asynccontextmanager
async def _in_memory(make: Callable[[], WholeTable]) -> AsyncIterator[WholeTable]:
    async with _closing(make()) as table:
        yield table


@asynccontextmanager
async def _in_a_file(*, threaded: bool) -> AsyncIterator[WholeTable]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rewake.db"
        async with _closing(SqliteTable(file, threaded=threaded, durable=False)) as table:
            yield table


@asynccontextmanager
async def _in_postgres(*, threaded: bool) -> AsyncIterator[WholeTable]:
    if binaries() is None:
        pytest.skip("no PostgreSQL server is installed")
    with emptied_schema() as address:
        place = place_of(rest_of(address))
        async with _closing(PostgresTable(place, threaded=threaded)) as table:
            yield table


@asynccontextmanager
async def _closing(table: WholeTable) -> AsyncIterator[WholeTable]:
    try:
        yield table
    finally:
        await table.close()


KINDS: Mapping[str, Opened] = {
    "memory": partial(_in_memory, MemoryTable),
    "sqlite": partial(_in_a_file, threaded=True),
    "sqlite-unthreaded": partial(_in_a_file, threaded=False),
    "sealed": partial(_in_memory, Sealed),
    "postgres": partial(_in_postgres, threaded=True),
    "postgres-unthreaded": partial(_in_postgres, threaded=False),
    "dynamodb": partial(_in_memory, whole_table),
}
"""How a table of each kind is made. One whose server is missing may call `pytest.skip`."""

ONE_THREAD = {"sqlite-unthreaded", "postgres-unthreaded"}
"""Those that belong to one thread."""
STORIES: Mapping[str, int] = {"dynamodb": 20}
"""Of those that are slow to make: how many random stories are played on each."""
LAG: Mapping[str, float] = {}
"""Of those whose due index follows late: by how many seconds at most."""


def every_table(body: Body) -> Callable[..., None]:
    """Makes a test of an async function that takes a table: one for each kind of table."""

    @wraps(body)
    def test(kind: str, **others: Any) -> None:
        async def main() -> None:
            async with KINDS[kind]() as table:
                await body(table, **others)

        asyncio.run(main())

    # pytest asks for what the signature names: a kind where the function takes a table.
    _, *others = inspect.signature(body).parameters.values()
    kind = inspect.Parameter("kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    test.__signature__ = inspect.Signature([kind, *others])  # type: ignore[attr-defined]
    parametrised: Callable[..., None] = pytest.mark.parametrize("kind", KINDS)(test)
    return parametrised

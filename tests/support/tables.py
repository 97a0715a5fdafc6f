"""Every kind of table, new and empty, for tests that hold for all of them."""

from __future__ import annotations

import asyncio
import inspect
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable
from tests.support.aws import whole_table
from tests.support.stores import Sealed, WholeTable

KINDS = ["memory", "sqlite", "sqlite-unthreaded", "sealed", "dynamodb"]
Body = Callable[..., Awaitable[None]]


def run(kind: str, body: Body) -> None:
    """Run `body` with a new, empty table, in an event loop of its own."""

    async def main(file: Path) -> None:
        sqlite = partial(SqliteTable, file, threaded=kind == "sqlite", durable=False)
        others: dict[str, Callable[[], WholeTable]]
        others = {"memory": MemoryTable, "sealed": Sealed, "dynamodb": whole_table}
        table: WholeTable = others.get(kind, sqlite)()
        try:
            await body(table)
        finally:
            await table.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder) / "rewake.db"))


def of_tables(*kinds: str) -> Callable[[Body], Callable[..., None]]:
    """Makes a test of an async function that takes a table: one for each kind of table."""

    def decorate(body: Body) -> Callable[..., None]:
        @wraps(body)
        def test(kind: str, **others: Any) -> None:
            run(kind, lambda table: body(table, **others))

        # pytest asks for what the signature names: a kind where the function takes a table.
        _, *others = inspect.signature(body).parameters.values()
        kind = inspect.Parameter("kind", inspect.Parameter.POSITIONAL_OR_KEYWORD)
        test.__signature__ = inspect.Signature([kind, *others])  # type: ignore[attr-defined]
        parametrised: Callable[..., None] = pytest.mark.parametrize("kind", kinds)(test)
        return parametrised

    return decorate


every_table = of_tables(*KINDS)
shared_tables = of_tables("memory", "sqlite", "dynamodb")

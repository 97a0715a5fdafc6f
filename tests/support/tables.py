"""The kinds of tables that tests run on, each by a name: a new one is a row of `KINDS`."""

from __future__ import annotations

import asyncio
import inspect
import json
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing
from functools import partial, wraps
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rewake.stores.memory import MemoryTable
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Key
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


Edit = Callable[[Any, Key, Mapping[str, str]], Awaitable[Mapping[str, Any]]]


async def _in_memory_edited(table: Any, key: Key, added: Mapping[str, str]) -> Mapping[str, Any]:
    items = table._partitions[key.partition]
    items[key.sort] = json.dumps(json.loads(items[key.sort]) | added).encode()
    found: Mapping[str, Any] = json.loads(items[key.sort])
    return found


async def _in_a_file_edited(table: Any, key: Key, added: Mapping[str, str]) -> Mapping[str, Any]:
    where = (key.partition, key.sort)
    with closing(sqlite3.connect(table.folder / "rewake.db")) as connection, connection:
        ask = "SELECT body FROM items WHERE partition = ? AND sort = ?"
        [[body]] = connection.execute(ask, where)
        found: Mapping[str, Any] = json.loads(body) | added
        change = "UPDATE items SET body = ? WHERE partition = ? AND sort = ?"
        connection.execute(change, (json.dumps(found).encode(), *where))
    return found


async def _in_dynamodb_edited(table: Any, key: Key, added: Mapping[str, str]) -> Mapping[str, Any]:
    where = {"TableName": table._name, "Key": table._names.key(key)}
    for name, value in added.items():
        change = {"UpdateExpression": "SET #n = :v", "ExpressionAttributeNames": {"#n": name}}
        values = {"ExpressionAttributeValues": {":v": {"S": value}}}
        await table._client.write("UpdateItem", where | change | values)
    reply = await table._client.read("GetItem", where | {"ConsistentRead": True})
    return {name: json.loads(bytes(next(iter(each.values())))) for name, each in reply.item.items()}


async def _in_postgres_edited(table: Any, key: Key, added: Mapping[str, str]) -> Mapping[str, Any]:
    where = (key.partition.encode(), key.sort.encode())
    items = f'"{table._place.schema}".items'
    with psycopg.connect(table._place.conninfo) as connection:
        ask = f"SELECT body FROM {items} WHERE partition = %s AND sort = %s"
        [[body]] = connection.execute(ask, where)
        found: Mapping[str, Any] = json.loads(bytes(body)) | added
        change = f"UPDATE {items} SET body = %s WHERE partition = %s AND sort = %s"
        connection.execute(change, (json.dumps(found).encode(), *where))
    return found


EDITED: Mapping[str, Edit] = {
    "memory": _in_memory_edited,
    "sqlite": _in_a_file_edited,
    "sqlite-unthreaded": _in_a_file_edited,
    "postgres": _in_postgres_edited,
    "postgres-unthreaded": _in_postgres_edited,
    "dynamodb": _in_dynamodb_edited,
}
"""By the kind of a table: how an item is edited, and looked at, as it is stored."""


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

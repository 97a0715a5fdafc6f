"""Connections to a PostgreSQL server: making one, and what can be told of one."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection

from rewake.errors import StoreUnavailable
from rewake.stores.postgres.faults import translated
from rewake.stores.postgres.place import Place

T = TypeVar("T")
Tuple = tuple[Any, ...]
PATIENCE = 15.0
"""Seconds that a statement may take, before its connection is given up."""
SLOWEST = 512 * 1024
"""Bytes a second that a statement moves at least, of what is large, beyond that patience."""
_GRACE = 1.0
"""Seconds that a server has to say that a statement was cancelled."""


async def connect(place: Place) -> AsyncConnection[Tuple]:
    """A connection that commits each statement. Raises `StoreError`."""
    try:
        made = await AsyncConnection.connect(
            place.conninfo, autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise translated(error, f"no connection to {place}") from error
    try:
        if not await is_pooled(made, place):
            made.prepare_threshold = 2
    except BaseException:
        made.pgconn.finish()
        raise
    return made


async def is_pooled(connection: AsyncConnection[Tuple], place: Place) -> bool:
    """Whether a pooler stands before the server: it has process ids of its own.

    Then the next statement may be carried out by another session, which knows nothing of what was
    prepared, and hears nothing. A pooler may have no session free: then the answer takes long.
    """
    try:
        [[number]] = await in_time(_rows_of(connection, "SELECT pg_backend_pid()"), place)
    except psycopg.Error as error:
        raise translated(error, f"no connection to {place}") from error
    return bool(number != connection.pgconn.backend_pid)


async def in_time(work: Awaitable[T], place: Place, *, moves: int = 0) -> T:
    """What comes of work that asks a server. Raises `StoreUnavailable` if that takes too long.

    `moves`: so many bytes go one way or the other.

    The driver answers a cancellation by asking the server to stop, and waits for it to say so; some
    versions do so for ever. A second cancellation is what they give way to.
    """
    patience = PATIENCE + moves // SLOWEST
    try:
        async with asyncio.timeout(patience + _GRACE), asyncio.timeout(patience):
            return await work
    except TimeoutError as error:
        raise StoreUnavailable(f"{place} does not answer for {patience:g} seconds") from error


async def _rows_of(connection: AsyncConnection[Tuple], statement: str) -> list[Tuple]:
    return await (await connection.execute(statement)).fetchall()


def is_stale(connection: AsyncConnection[Any]) -> bool:
    """Whether an idle connection has something to say: it was closed, as a rule."""
    if connection.closed:
        return True
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    return bool(readable.poll(0))

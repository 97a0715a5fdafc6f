"""Connections to a PostgreSQL server: making one, and what can be told of one."""

from __future__ import annotations

import select
from typing import Any

import psycopg
from psycopg import AsyncConnection

from rewake.stores.postgres.faults import translated
from rewake.stores.postgres.place import Place

Tuple = tuple[Any, ...]


async def connect(place: Place) -> AsyncConnection[Tuple]:
    """A connection that commits each statement. Raises `StoreError`."""
    try:
        made = await AsyncConnection.connect(
            place.conninfo, autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        raise translated(error, f"no connection to {place}") from error
    if not is_pooled(made):
        made.prepare_threshold = 2
    return made


def is_pooled(connection: psycopg.BaseConnection[Any]) -> bool:
    """Whether a pooler stands before the server: it has process ids of its own.

    Then the next statement may be carried out by another session, which knows nothing of what was
    prepared, and hears nothing.
    """
    result = connection.pgconn.exec_(b"SELECT pg_backend_pid()")
    value = result.get_value(0, 0)
    return value is None or int(value) != connection.pgconn.backend_pid


def is_stale(connection: AsyncConnection[Any]) -> bool:
    """Whether an idle connection has something to say: it was closed, as a rule."""
    if connection.closed:
        return True
    readable = select.poll()
    readable.register(connection.fileno(), select.POLLIN)
    return bool(readable.poll(0))

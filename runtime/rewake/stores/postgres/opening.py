"""Opening a PostgreSQL database by its address, making it and checking it.

What is opened is looked at once, on a connection of its own: a server that is told a wrong address,
or comes before its tables, says so before it listens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import Connection

from rewake.errors import StoreUnsuitable
from rewake.stores.postgres import schema
from rewake.stores.postgres.faults import translated
from rewake.stores.postgres.place import Place, place_of
from rewake.stores.postgres.schema import Row
from rewake.stores.postgres.table import PostgresTable

__all__ = ["PostgresTable", "check", "connected", "create", "open_table", "place_of"]


def open_table(address: str, *, reads_only: bool = False) -> PostgresTable:
    """The table that an address names, for reading only if asked. Raises `ConfigError`,
    `StoreError`.
    """
    place = place_of(address, writes=not reads_only)
    with connected(place) as connection:
        schema.refuse(schema.version_of(connection, place.schema), place)
        if lacks := schema.lacking(connection, place, writes=not reads_only):
            raise StoreUnsuitable(lacks[0])
    return PostgresTable(place, reads_only=reads_only)


def create(address: str) -> list[str]:
    """Make what is missing, and say what that was. Raises as `open_table` does."""
    place = place_of(address)
    with connected(place) as connection:
        return schema.create(connection, place)


def check(address: str) -> list[str]:
    """What does not fit, a line each. Raises as `open_table` does."""
    place = place_of(address, writes=False)
    with connected(place) as connection:
        schema.refuse(schema.version_of(connection, place.schema), place)
        return schema.lacking(connection, place) + schema.misfits(connection)


@contextmanager
def connected(place: Place) -> Iterator[Connection[Row]]:
    """A connection that blocks, for a few questions. Raises `StoreError`."""
    try:
        connection = psycopg.connect(place.conninfo, autocommit=True, prepare_threshold=None)
    except psycopg.Error as error:
        raise translated(error, f"no connection to {place}") from error
    try:
        with connection:
            yield connection
    except psycopg.Error as error:
        raise translated(error, str(place)) from error

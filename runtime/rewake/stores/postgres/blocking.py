"""One connection that blocks, for an event loop that has no sockets: a simulation's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg

from rewake.errors import StoreUnavailable
from rewake.stores.postgres.faults import translated, while_open
from rewake.stores.postgres.flight import Job, fly
from rewake.stores.postgres.known import Known
from rewake.stores.postgres.place import Place
from rewake.stores.postgres.rows import Rows

Blocking = psycopg.Connection[tuple[Any, ...]]


def connect_blocking(place: Place) -> Blocking:
    """A connection that blocks, and commits each statement. Raises `StoreError`."""
    try:
        return psycopg.connect(place.conninfo, autocommit=True, prepare_threshold=1)
    except psycopg.Error as error:
        raise translated(error, f"no connection to {place}") from error


class BlockingLine:
    """What `Line` is, but each job flies alone, in its caller."""

    def __init__(self, table: object, place: Place, connection: Blocking) -> None:
        self.loop = asyncio.get_running_loop()
        self.known = Known()
        self.reads = Rows(place.schema, self._outside)
        self.inner = Rows(place.schema, self._carry_out)
        self._table = table
        self._closed = False
        self._connection = connection

    async def run(self, job: Job) -> Any:
        """Do a job."""
        await self._give_way()
        await fly(self._table, [job], self.inner, self.known)
        if job.error is not None:
            raise job.error
        return job.value

    async def close(self) -> None:
        """Close the connection."""
        self.drop()

    def drop(self) -> None:
        """Close the connection."""
        self._closed = True
        self._connection.close()

    def descriptors(self) -> list[int]:
        """The number under which this process has the connection open."""
        return [] if self._closed else [self._connection.fileno()]

    async def _give_way(self) -> None:
        await asyncio.sleep(0)
        if self._closed:
            raise StoreUnavailable("the table is closed")

    async def _outside(
        self, statement: str, values: Sequence[Any], **_: int
    ) -> list[tuple[Any, ...]]:
        await self._give_way()
        return await self._carry_out(statement, values)

    async def _carry_out(
        self, statement: str, values: Sequence[Any], **_: int
    ) -> list[tuple[Any, ...]]:
        try:
            cursor = self._connection.execute(statement, values, binary=True)
            return cursor.fetchall() if cursor.description else []
        except psycopg.Error as error:
            raise while_open(error) from error

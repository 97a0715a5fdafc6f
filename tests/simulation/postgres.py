"""PostgreSQL in a simulation: a real server, asked by processes that know what was, not what is."""

from __future__ import annotations

from rewake.stores.postgres.blocking import BlockingLine
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.table import Key
from rewake.testing.loop import OWNER, Owner
from tests.support.postgres import emptied_connection


class SharedPostgres(PostgresTable):
    """An empty table that all processes of a simulation share.

    They have one connection, which blocks, but each has its own memory of what it last saw, as has
    the thread in which its heart beats: so what one has written is news to all others.
    """

    def __init__(self) -> None:
        self._where, self._connection = emptied_connection()
        super().__init__(self._where, threaded=False)
        self._by_owner: dict[Owner | None, BlockingLine] = {}

    def _line(self) -> BlockingLine:
        owner = OWNER.get()
        if owner not in self._by_owner:
            self._by_owner[owner] = BlockingLine(self, self._where, self._connection)
        return self._by_owner[owner]

    def places(self) -> list[Key]:
        """Where there are items."""
        found = self._connection.execute(
            f'SELECT partition, sort FROM "{self._where.schema}".items', binary=True
        )
        return [Key(*(bytes(part).decode() for part in row)) for row in found.fetchall()]

    def values(self, run: str) -> list[str]:
        """The names of a run's large values."""
        found = self._connection.execute(
            f'SELECT name FROM "{self._where.schema}".blobs WHERE run = %s',
            [run.encode()],
            binary=True,
        )
        return [bytes(name).decode() for (name,) in found.fetchall()]

    async def close(self) -> None:
        """The connection is for the next simulation."""

"""What a PostgreSQL database tells of who holds an item, so that nobody waits for each of many."""

from __future__ import annotations

import asyncio

import psycopg

from rewake.records import Header
from rewake.stores.keys import header_key
from rewake.stores.postgres import opening
from rewake.stores.postgres.joined import JoinedTable
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.rows import Rows
from tests.support.postgres import cluster, needs_postgres, rest_of

pytestmark = needs_postgres
HELD, FREE = header_key("1"), header_key("2")


def test_an_item_is_held_as_long_as_its_transaction_goes_on() -> None:
    """Locked or changed, by a person, a start or a savepoint; and no more once that has ended."""

    async def main(address: str, connection: psycopg.Connection[tuple[object, ...]]) -> None:
        table, schema = opening.open_table(rest_of(address)), place_of(rest_of(address)).schema
        for key in (HELD, FREE):
            await table.put(key, Header(key.partition[2:], "main", 1, seed=7, runtime=1))
        reads = table._line().reads
        assert isinstance(reads, Rows)
        joined = JoinedTable(connection, schema)

        async def lock() -> None:
            row = [HELD.partition.encode(), HELD.sort.encode()]
            where = "WHERE partition = %s AND sort = %s"
            connection.execute(f'SELECT FROM "{schema}".items {where} FOR UPDATE', row)

        async def change() -> None:
            await joined.update(HELD, add={"epoch": 1})

        async def change_within() -> None:
            connection.execute("SELECT")  # what follows is no transaction of its own
            with connection.transaction():
                await joined.together(change)

        async def remove() -> None:
            await joined.delete([HELD])

        for hold in (lock, change, change_within, remove):
            for end in (connection.rollback, connection.commit):
                assert not await reads.is_held(HELD)
                await hold()
                assert await reads.is_held(HELD)
                assert not await reads.is_held(FREE)
                end()
        assert not await reads.is_held(HELD)
        await table.close()

    with (
        cluster().schema() as address,
        psycopg.connect(cluster().address("").partition("?")[0]) as at,
    ):
        asyncio.run(main(address, at))

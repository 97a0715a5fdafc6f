"""All partitions and large values of a table are listed, once each, in pages: for who copies it."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from rewake.ledger import Seen
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.listing import DynamoListing
from rewake.stores.keys import seen_key
from rewake.stores.s3.shelf import S3Shelf
from tests.support.aws import bucket_name, table_name
from tests.support.dynamodb import WholeDynamoTable, wire


def test_all_is_listed_once() -> None:
    """In pages of any size, whichever apps share the table."""

    async def main() -> None:
        name, bucket, app = table_name(), bucket_name(), uuid4().hex[:8]
        table, other = (WholeDynamoTable(name, bucket, each) for each in (app, f"{app}x"))
        client, shelf = Client(wire("dynamodb")), S3Shelf(wire("s3"), bucket, app)
        listing = DynamoListing(client, name, shelf, app)
        assert await listing.partitions("", 2) == []
        assert await listing.blobs(("", ""), 2) == []
        runs = [f"run&{number}" for number in range(7)]
        for run in runs:
            for key in ("a", "b"):
                await table.put(seen_key(run, key), Seen(1))
                await table.put_blob(run, key, b"x")
        await other.put(seen_key("other", "a"), Seen(1))
        await other.put_blob("other", "a", b"x")
        for size in (1, 3, 100):
            found: list[str] = []
            while page := await listing.partitions(found[-1] if found else "", size):
                assert len(page) <= size
                found += page
            assert sorted(found) == [f"R#{run}" for run in runs]
            values: list[tuple[str, str]] = []
            while some := await listing.blobs(values[-1] if values else ("", ""), size):
                values += some
            assert values == [(run, key) for run in runs for key in ("a", "b")]
        # Whoever has no name has nothing of these.
        unnamed = DynamoListing(client, name, S3Shelf(wire("s3"), bucket))
        there = await unnamed.partitions("", 10_000)
        assert not [each for each in there if each.startswith(app)]
        assert not [run for run, _ in await unnamed.blobs(("", ""), 1_000) if app in run]
        for each in (table, other, client, shelf):
            await each.close()

    asyncio.run(main())

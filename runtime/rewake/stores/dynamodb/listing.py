"""All that a table and its bucket have, for who copies it: by scans, which nothing else makes.

Partitions come in an order of DynamoDB's own, which stays the same; large values by their names.
"""

from __future__ import annotations

import re
from typing import Any

from rewake.stores.dynamodb.attributes import PARTITION, SORT, Names
from rewake.stores.dynamodb.client import Client
from rewake.stores.s3.shelf import S3Shelf

_LAST = "\U0010ffff" * 256
"""Behind all sort keys: of 1,024 bytes, and each the highest that there is."""


OTHER_APP = re.compile("[A-Za-z0-9_.-]+/")
"""What a partition begins with of an app that has a name: no other has a slash there."""


class DynamoListing:
    """Lists the part of a table that belongs to `app`, and the values beside it."""

    def __init__(self, client: Client, name: str, shelf: S3Shelf, app: str = "") -> None:
        self._client = client
        self._name = name
        self._shelf = shelf
        self._names = Names(app)

    async def partitions(self, after: str, limit: int) -> list[str]:
        """The partitions that have items, behind this one; empty: from the beginning."""
        found: dict[str, None] = {}
        request: dict[str, Any] = {
            "TableName": self._name,
            "ProjectionExpression": f"{PARTITION}, {SORT}",
            "ConsistentRead": True,
        }
        if self._names.prefix:
            request["FilterExpression"] = f"begins_with({PARTITION}, :app)"
            request["ExpressionAttributeValues"] = {":app": {"S": self._names.prefix}}
        start: Any = self._behind(after) if after else None
        while len(found) < limit:
            asked = request if start is None else {**request, "ExclusiveStartKey": start}
            reply = await self._client.read("Scan", asked)
            for raws in reply.items:
                partition = self._names.key_of(raws).partition
                if self._names.prefix or not OTHER_APP.match(partition):
                    found[partition] = None
            start = reply.last_evaluated_key
            if start is None:
                break
        return list(found)[:limit]

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        """The large values, by run and name, behind this one."""
        return await self._shelf.listed(after, limit)

    async def stamp(self) -> str:
        """Nothing tells whether something was written since."""
        return ""

    def _behind(self, partition: str) -> dict[str, Any]:
        return {PARTITION: {"S": self._names.partition(partition)}, SORT: {"S": _LAST}}

"""A table of DynamoDB that is a shelf as well, as the contract wants it: values are in S3."""

from __future__ import annotations

import functools

from rewake.aws.account import Account, Place
from rewake.aws.wire import SignedWire
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.s3.shelf import S3Shelf
from tests.support.aws import aws


@functools.cache
def account() -> Account:
    """Who tests are to AWS: it takes a while to find out."""
    aws()
    return Account()


@functools.cache
def place(service: str) -> Place:
    """Where a service is."""
    return account().place(service)


def wire(service: str) -> SignedWire:
    """A wire to a service."""
    return SignedWire(account(), service, place(service))


class WholeDynamoTable(DynamoTable):
    """The part of a table and of a bucket that `app` names."""

    def __init__(self, name: str, bucket: str, app: str) -> None:
        super().__init__(Client(wire("dynamodb")), name, app)
        self._shelf = S3Shelf(wire("s3"), bucket, app)
        self.put_blob, self.get_blob = self._shelf.put_blob, self._shelf.get_blob
        self.delete_blobs = self._shelf.delete_blobs

    async def close(self) -> None:
        await super().close()
        await self._shelf.close()

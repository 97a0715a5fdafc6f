"""DynamoDB as a database: its address, and S3's beside it.

    dynamodb://TABLE         all of a table
    dynamodb://TABLE/APP     the part of a table that belongs to one app
    s3://BUCKET[/PREFIX]     where large values are; ?encryption=aws:kms, or none for a store that
                             has none

Credentials, the region and endpoints are AWS's own settings (`rewake.aws.account`).
"""

from __future__ import annotations

import asyncio
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, urlsplit

from rewake.aws.account import Account, this_account
from rewake.aws.wire import SignedWire
from rewake.errors import ConfigError, StoreUnsuitable
from rewake.hosts.databases import Database, Reader
from rewake.stores.bills import Bills
from rewake.stores.dynamodb.billed import BilledTable
from rewake.stores.dynamodb.client import Client
from rewake.stores.dynamodb.listing import DynamoListing
from rewake.stores.dynamodb.setup import check_table, create_table, tried
from rewake.stores.dynamodb.table import DynamoTable
from rewake.stores.s3.bucket import check_bucket, create_bucket
from rewake.stores.s3.shelf import S3Shelf

_TABLE = re.compile(r"//([A-Za-z0-9_.-]{3,255})(?:/([A-Za-z0-9_.-]{1,64}))?/?")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()/-]{0,256}")
_ENCRYPTIONS = {"AES256": "AES256", "aws:kms": "aws:kms", "none": ""}


class Where(NamedTuple):
    """A table and a bucket, and the parts of them that are one app's."""

    table: str
    app: str
    bucket: str
    prefix: str
    encryption: str


def where(place: str, blobs: str) -> Where:
    """What two addresses say. Raises `ConfigError`."""
    found = _TABLE.fullmatch(place)
    if found is None:
        raise ConfigError("a table of DynamoDB is named dynamodb://TABLE or dynamodb://TABLE/APP")
    table, app = found[1], found[2] or ""
    if not blobs:
        told = "an item of DynamoDB has little room: set REWAKE_BLOBS=s3://BUCKET or s3://BUCKET/PREFIX"
        raise ConfigError(told)
    bucket, prefix, encryption = bucket_of(blobs, "REWAKE_BLOBS")
    own = "/".join(filter(None, (prefix, app)))
    return Where(table, app, bucket, own, encryption)


def bucket_of(address: str, setting: str) -> tuple[str, str, str]:
    """The bucket, prefix and encryption that an address of S3 says. Raises `ConfigError`."""
    parts = urlsplit(address)
    prefix, query = parts.path.strip("/"), dict(parse_qsl(parts.query, keep_blank_values=True))
    encryption = query.pop("encryption", "AES256")
    fits = parts.scheme == "s3" and _BUCKET.fullmatch(parts.netloc) and _PREFIX.fullmatch(prefix)
    if not fits or query or parts.fragment:
        raise ConfigError(f"{setting} is s3://BUCKET or s3://BUCKET/PREFIX")
    if encryption not in _ENCRYPTIONS:
        known = ", ".join(_ENCRYPTIONS)
        raise ConfigError(f"{setting}: encryption is one of {known}, and not {encryption!r}")
    return parts.netloc, prefix, _ENCRYPTIONS[encryption]


def open_to_serve(place: str, blobs: str) -> Database:
    """The table and the bucket, which are neither made nor looked at here."""
    return _opened(where(place, blobs), this_account())


def open_existing(place: str, blobs: str) -> Database:
    """The same. Raises `StoreUnsuitable` if the table does not fit."""
    return _opened(*_fitting(place, blobs))


def open_to_read(place: str, blobs: str) -> Reader:
    """The same, of which nothing changes; each read is whole."""
    at, account = _fitting(place, blobs)
    client, shelf = Client(_wire(account)), _shelf(at, account)
    listing = DynamoListing(client, at.table, shelf, at.app)
    return Reader(DynamoTable(client, at.table, at.app), shelf, lambda: False, listing)


async def create(place: str, blobs: str) -> list[str]:
    """Make what is missing. Returns what that was. Raises `StoreError`."""
    at, account = where(place, blobs), this_account()
    made = await asyncio.to_thread(create_table, account, at.table)
    return made + await asyncio.to_thread(create_bucket, account, at.bucket)


async def check(place: str, blobs: str) -> list[str]:
    """What does not fit, a line each; what may be done there is tried. Raises `StoreError`."""
    at, account = where(place, blobs), this_account()
    wrong = await asyncio.to_thread(check_table, account, at.table)
    wrong += await asyncio.to_thread(check_bucket, account, at.bucket)
    if wrong:
        return wrong
    table, shelf = _opened(at, account)
    try:
        return await tried(table, shelf)
    finally:
        await table.close()


def _fitting(place: str, blobs: str) -> tuple[Where, Account]:
    at, account = where(place, blobs), this_account()
    if wrong := check_table(account, at.table):
        raise StoreUnsuitable(wrong[0])
    return at, account


def _opened(at: Where, account: Account) -> Database:
    bills = Bills()
    table = BilledTable(_wire(account), at.table, at.app, bills=bills)
    return Database(table, _shelf(at, account, bills))


def _wire(account: Account) -> SignedWire:
    return SignedWire(account, "dynamodb", account.place("dynamodb"))


def _shelf(at: Where, account: Account, bills: Bills | None = None) -> S3Shelf:
    beside = SignedWire(account, "s3", account.place("s3"), large=True)
    return S3Shelf(beside, at.bucket, at.prefix, encryption=at.encryption, bills=bills)

"""Making a table of DynamoDB, and checking one: before anything runs on it, with boto3."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rewake.aws.account import Account
from rewake.errors import CheckpointUnreadable, StoreError, StoreUnavailable
from rewake.ledger import Seen
from rewake.stores.dynamodb.definition import (
    INDEX,
    definition,
    index_of,
    is_on_demand,
    misfits,
)
from rewake.stores.keys import seen_key
from rewake.stores.shelf import Shelf
from rewake.stores.table import Table

log = logging.getLogger("rewake.store")

PATIENCE = 600.0
"""Seconds that an index may take to be made."""
_PAUSE = 0.5
_SAMPLE = b"rewake tables check"


def create_table(account: Account, name: str) -> list[str]:
    """Make the table and its index where they are missing, and wait for both.

    Returns what was made. Raises `StoreError`.
    """
    client = account.client("dynamodb")
    with told(f"the table {name}"):
        found = _described(client, name)
        if found is None:
            with _made_by_another(client):
                client.create_table(**definition(name))
            _wait(lambda: _is_active(_described(client, name)), name)
            return [f"the table {name}"]
        _wait(lambda: _described(client, name)["TableStatus"] == "ACTIVE", name)
        if index_of(found) is not None:
            return []
        with _made_by_another(client):
            _create_index(client, name)
        _wait(lambda: _is_active(_described(client, name)), name)
        return [f"the index {INDEX} of the table {name}"]


def _create_index(client: Any, name: str) -> None:
    wanted = definition(name)
    client.update_table(
        TableName=name,
        AttributeDefinitions=wanted["AttributeDefinitions"],
        GlobalSecondaryIndexUpdates=[{"Create": wanted["GlobalSecondaryIndexes"][0]}],
    )


def check_table(account: Account, name: str) -> list[str]:
    """What does not fit of the table, a line each. Raises `StoreError` if nobody can tell."""
    client = account.client("dynamodb")
    with told(f"the table {name}"):
        found = _described(client, name)
        if found is None:
            return [f"there is no table {name} in {client.meta.region_name}: rewake tables create"]
        wrong = misfits(found)
        if not wrong and not _is_active(found):
            wrong.append(f"it is not ready yet ({found['TableStatus']})")
        ttl = client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        if ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING"):
            wrong.append(f"its TTL is on (attribute {ttl.get('AttributeName')}): turn it off")
    if not is_on_demand(found):
        log.warning("the table %s is not on demand: what is beyond its capacity waits", name)
    return [f"the table {name}: {each}" for each in wrong]


async def tried(table: Table, shelf: Shelf) -> list[str]:
    """What may not be done there, or does not work, a line each: each call is tried once."""
    name = f"rewake-check-{secrets.token_hex(8)}"
    first, second = seen_key(name, "1"), seen_key(name, "2")
    calls: Mapping[str, Callable[[], Awaitable[Any]]] = {
        "an item cannot be written": lambda: table.put(first, Seen(1)),
        "an item cannot be made": lambda: table.put(second, Seen(1), absent=True),
        "an item that is there cannot be told": lambda: table.put(second, Seen(1), absent=True),
        "an item cannot be changed": lambda: table.update(first, add={"times": 1}),
        "an item cannot be read": lambda: table.get(first),
        "items cannot be read": lambda: table.get_many([first, second]),
        "items cannot be listed": lambda: table.query(first.partition),
        "the due index cannot be read": lambda: table.due(0, limit=1),
        "an item cannot be removed": lambda: table.delete([first]),
        "items cannot be removed": lambda: table.delete([first, second]),
        "a large value cannot be kept": lambda: shelf.put_blob(name, "check", _SAMPLE),
        "a large value cannot be read": lambda: shelf.get_blob(name, "check"),
        "large values cannot be removed": lambda: shelf.delete_blobs(name, limit=1),
    }
    wrong = []
    for what, call in calls.items():
        try:
            await call()
        except (StoreError, CheckpointUnreadable) as error:
            wrong.append(f"{what}: {error}")
    return wrong


def _described(client: Any, name: str) -> Any:
    """What DynamoDB says of the table; None: there is none."""
    try:
        return client.describe_table(TableName=name)["Table"]
    except client.exceptions.ResourceNotFoundException:
        return None


def _is_active(table: Mapping[str, Any] | None) -> bool:
    index = None if table is None else index_of(table)
    if table is None or index is None:
        return False
    # Not all that speaks as DynamoDB does says how its index is.
    states = {table["TableStatus"], index.get("IndexStatus", "ACTIVE")}
    return states == {"ACTIVE"}


def _wait(ready: Callable[[], bool], name: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() >= deadline:
            raise StoreUnavailable(f"the table {name} is not ready yet: look again later")
        time.sleep(_PAUSE)


@contextmanager
def _made_by_another(client: Any) -> Iterator[None]:
    """Somebody else may make the same at the same time."""
    try:
        yield
    except client.exceptions.ResourceInUseException:
        return


@contextmanager
def told(what: str) -> Iterator[None]:
    """What botocore raises about this, in one line: `StoreUnavailable` for what may pass."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        raise StoreError(f"{what}: {said(error)}") from error
    except BotoCoreError as error:
        raise StoreUnavailable(f"{what}: {error}") from error


def said(error: Any) -> str:
    """What a service says that is wrong; of a permission, which one is missing."""
    fault: Mapping[str, str] = error.response.get("Error", {})
    return f"{fault.get('Code', 'an error')}: {fault.get('Message', '')}".removesuffix(": ")

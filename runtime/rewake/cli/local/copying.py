"""`rewake tables copy`: all of a database into another, by their addresses."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from pathlib import Path

from rewake.cli.exits import Exit, tell
from rewake.clock import SystemClock
from rewake.errors import ConfigError, StoreUnsuitable
from rewake.hosts.databases import (
    Address,
    address_of,
    create_database,
    file_of,
    open_database,
    open_to_read,
    values_of,
)
from rewake.stores.copying import Copied, Side, copied
from rewake.stores.sqlite.file import real


def copy(source: str, target: str) -> Exit:
    """Copy, compare, and say how much there is. Raises `ConfigError`, `StoreError`."""
    found = asyncio.run(_copy(source, target))
    print(f"copied {found.items} items and {found.blobs} large values, and compared them all")
    return Exit.DONE


def _refuse_if_open(target: Address) -> None:
    """Raise `StoreUnsuitable` if another program has a file open: a server begins what arrives.

    Who closes it last takes its log away. Of other kinds nobody can tell.
    """
    file = file_of(target)
    if file is not None and Path(f"{real(file)}-wal").exists():
        told = "what serves it would carry out what has arrived of a copy: stop that"
        raise StoreUnsuitable(f"{target} is open in another program: {told}")


async def _copy(source: str, target: str) -> Copied:
    blobs = os.environ.get("REWAKE_BLOBS", "")
    from_, to = address_of(source, blobs), address_of(target, blobs)
    if str(from_) == str(to):
        raise ConfigError("--from and --to are the same database")
    if (values := values_of(from_)) and values == values_of(to):
        told = "whoever removes a run of one would take the values of the other along"
        raise ConfigError(f"{values} would be of both: {told}; name an app, dynamodb://TABLE/APP")
    async with AsyncExitStack() as stack:
        reader = open_to_read(from_)
        stack.push_async_callback(reader.table.close)
        await create_database(to)
        _refuse_if_open(to)
        made = open_database(to)
        stack.push_async_callback(made.table.close)
        listed = open_to_read(to)
        stack.push_async_callback(listed.table.close)
        return await copied(
            Side(str(from_), reader.table, reader.shelf, reader.listing),
            Side(str(to), made.table, made.shelf, listed.listing),
            SystemClock().now(),
            tell,
        )

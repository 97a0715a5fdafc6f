"""`rewake runs watch --db`: a run in a file, which another process carries on."""

from __future__ import annotations

import asyncio
import secrets

import msgspec

from rewake.cli.exits import Exit
from rewake.cli.home import find_secret
from rewake.cli.told import Teller
from rewake.clock import SystemClock
from rewake.engine.logs.streams import Streams
from rewake.hosts.databases import Address, file_of, open_existing, open_to_read
from rewake.stores.places import first_place
from rewake.stores.reads import Reads
from rewake.views.stream import told_view
from rewake.views.values import Values

_LONG = 60.0


def watch(db: Address, run: str, teller: Teller) -> Exit:
    """Follow a run until it ends, or is stuck. Raises `RunNotFound`, `StoreUnsuitable`."""
    return asyncio.run(_watch(db, run, teller))


async def _watch(db: Address, run: str, teller: Teller) -> Exit:
    secret = find_secret()
    # A file that nobody has open is read as if that stayed so: who waits has it open himself.
    opened = open_to_read(db) if file_of(db) is None else open_existing(db)
    values, store = Values(secret, run, said=True), Reads(opened.table, opened.shelf)
    streams, place = Streams(store, SystemClock(), secrets.token_hex, secret), first_place(run)
    try:
        while True:
            page = await streams.follow(run, place, wait=_LONG)
            shown = msgspec.json.encode([told_view(told, values) for told, _ in page.told])
            teller.told(msgspec.json.decode(shown))
            place = page.place
            if page.ended or teller.stuck:
                return teller.exit()
    finally:
        await store.close()

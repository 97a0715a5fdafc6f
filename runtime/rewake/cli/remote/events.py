"""Publishing an event by way of a server, and looking at those of a name."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.cli.remote import tables
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, whole_list
from rewake.client import flows

_PAGE = 50


def publish(url: str | None, name: str, data: Any, id: str | None, *, json: bool) -> Exit:
    """Publish an event."""

    async def ask() -> flows.View:
        async with Client(url) as client:
            return await client.do(flows.published(client.manner, name, data, id))

    found = asyncio.run(ask())
    if json:
        write_json(found)
    else:
        print(f"{found['name']} {found['id']} is published")
    return Exit.DONE


def listing(server: Server, name: str, limit: int) -> Exit:
    """The newest events of a name."""
    query = {"limit": min(limit, _PAGE)}
    return whole_list(server, "events", tables.EVENTS, "events", name, most=limit, query=query)

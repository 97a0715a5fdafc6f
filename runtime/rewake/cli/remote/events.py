"""Publishing an event by way of a server."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.client import flows


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

"""Calling a callback by its address, which is all that this needs: no token, and no setting."""

from __future__ import annotations

import asyncio
from typing import Any

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.client import flows
from rewake.client.async_client import AsyncClient
from rewake.client.settings import URL


def call(address: str, body: Any, *path: str, json: bool) -> Exit:
    """End the callback at this address."""

    async def ask() -> flows.View:
        async with AsyncClient(URL, patience=0) as client:
            return await client.do(flows.called(client.manner, address, *path, body=body))

    found = asyncio.run(ask())
    if json:
        write_json(found)
    else:
        print(f"the callback is {found['state']}")
    return Exit.DONE

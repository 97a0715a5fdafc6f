"""`rewake runs watch` on a server: long polls, which go on when the server is back."""

from __future__ import annotations

from dataclasses import replace

from rewake.cli.exits import Exit, tell
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.told import Teller
from rewake.client import flows
from rewake.errors import RewakeError

PATIENCE = 60.0
"""Seconds for which a server that has answered may be away."""


def watch(url: str | None, run: str, teller: Teller) -> Exit:
    """Follow a run until it ends, or is stuck."""

    async def call(client: Client) -> Exit:
        cursor: str | None = None
        manner = client.manner
        while True:
            page = await client.do(flows.told(manner, run, cursor, None))
            teller.told(page["items"])
            cursor = page["cursor"]
            if page["ended"] or teller.stuck:
                return teller.exit()
            manner = replace(client.manner, patience=PATIENCE, retried=_tell)

    return Server(url).ask(call)


def _tell(error: RewakeError) -> None:
    tell(f"{error}; trying again")

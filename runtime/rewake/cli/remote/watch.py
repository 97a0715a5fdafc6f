"""`rewake runs watch` on a server: long polls, which go on when the server is back."""

from __future__ import annotations

import asyncio

from rewake.cli.exits import Exit, tell
from rewake.cli.remote.client import Client, Reply
from rewake.cli.remote.runs import LONGEST_WAIT, Server
from rewake.cli.told import Teller
from rewake.errors import ServerUnavailable

PATIENCE = 60
"""Seconds for which a server that has answered may be away."""


def watch(url: str | None, run: str, teller: Teller) -> Exit:
    """Follow a run until it ends, or is stuck."""

    async def call(client: Client) -> Exit:
        cursor: str | None = None
        while True:
            page = (await _page(client, run, cursor)).body
            teller.told(page["items"])
            cursor = page["cursor"]
            if page["ended"] or teller.stuck:
                return teller.exit()

    return Server(url).ask(call)


async def _page(client: Client, run: str, cursor: str | None) -> Reply:
    """The next page. Raises `ServerUnavailable` if it never answered, or is away for long."""
    query, wait = {"cursor": cursor}, LONGEST_WAIT if cursor else 0
    for left in reversed(range(PATIENCE)):
        try:
            return await client.get("runs", run, "stream", query=query, wait=wait)
        except ServerUnavailable as error:
            if cursor is None or not left:
                raise
            if left == PATIENCE - 1:
                tell(f"{error}; trying again")
            await asyncio.sleep(1)
    raise AssertionError("unreachable")

"""`rewake deadletters list|show|redrive`: what a server's queue has put aside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import print_columns, when

_PATH = "dead-letters"
_HEADS = ("ID", "AT", "RUN", "KEY", "BYTES", "REASON")


def listing(url: str | None, json: bool, limit: int) -> Exit:
    """Messages that were parked."""

    async def call(client: Client) -> Exit:
        found = (await client.get(_PATH, query={"limit": limit})).body
        if json:
            write_json(found)
        else:
            print_columns(_HEADS, [_row(each) for each in found["messages"]])
            if found["more"]:
                tell(f"there may be more: --limit {2 * limit}")
        return Exit.DONE

    return Server(url, json).ask(call)


def show(url: str | None, json: bool, id: str) -> Exit:
    """One message: what is known of it on stderr, what is in it on stdout."""

    async def call(client: Client) -> Exit:
        found = (await client.get(_PATH, id)).body
        if json:
            write_json(found)
        else:
            tell(f"{when(found['at'])}: {found['reason']}")
            print(found["message"])
        return Exit.DONE

    return Server(url, json).ask(call)


def redrive(url: str | None, json: bool, id: str | None) -> Exit:
    """Send one message, or all of them, again."""

    async def call(client: Client) -> Exit:
        found = (await client.post(_PATH, body={"id": id})).body
        if json:
            write_json(found)
        else:
            tell(f"sent again: {found['sent']}")
        return Exit.DONE

    return Server(url, json).ask(call)


def _row(found: Mapping[str, Any]) -> list[str]:
    run, size = found["run"] or "", str(found["size"])
    return [found["id"], when(found["at"]), run, found["key"], size, found["reason"]]

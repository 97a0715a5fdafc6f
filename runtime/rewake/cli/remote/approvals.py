"""`rewake approvals ...`: what the runs of a server wait for, links to it, and decisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.inputs import the_one
from rewake.cli.output import write_json
from rewake.cli.remote import tables
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, page_of
from rewake.errors import RunNotFound


def listing(server: Server, query: Mapping[str, object]) -> Exit:
    """What runs wait for, of the newest run first."""
    return page_of(server, "approvals", tables.approvals_table, query)


def show(server: Server, run: str, key: str | None) -> Exit:
    """What one run waits for: the form, the deadline, the address."""

    async def call(client: Client) -> Exit:
        found = await _open(client, run)
        if key is not None:
            found = [each for each in found if each["key"] == key]
            if not found:
                raise RunNotFound(f"the run waits for no approval {key!r}")
        write_json(found)
        return Exit.DONE

    return server.ask(call)


def link(server: Server, run: str, key: str | None, approver: str, action: str | None) -> Exit:
    """Print a fresh link, alone on its line."""

    async def call(client: Client) -> Exit:
        chosen = key or the_one([each["key"] for each in await _open(client, run)], run)
        wanted = {"run": run, "key": chosen, "approver": approver, "action": action}
        found = (await client.post("links", body=wanted)).body
        if server.json:
            write_json(found)
        else:
            print(found["url"])
            tell(f"good until {tables.when(found['expires'])}")
        return Exit.DONE

    return server.ask(call)


async def _open(client: Client, run: str) -> list[dict[str, Any]]:
    return (await client.get("runs", run)).body.get("approvals") or []

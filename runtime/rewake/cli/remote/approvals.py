"""`rewake approvals ...`: what the runs of a server wait for, links to it, and decisions."""

from __future__ import annotations

from collections.abc import Mapping

from rewake.cli.columns import when
from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote import tables
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, only_approval, open_approvals, page_of


def listing(server: Server, query: Mapping[str, object]) -> Exit:
    """What runs wait for, of the newest run first."""
    return page_of(server, "approvals", tables.APPROVALS, query)


def show(server: Server, run: str, key: str | None, *, trail: bool) -> Exit:
    """What one run waits for, or the approval at a key, open or not; or what happened to it."""

    async def call(client: Client) -> Exit:
        keys = [each["key"] for each in await open_approvals(client, run)] if key is None else [key]
        found = [(await client.get("runs", run, "approvals", each)).body for each in keys]
        if not trail:
            write_json(found)
            return Exit.DONE
        for record in found:
            for entry in record["trail"]:
                write_json({"run": run, "key": record["key"], **entry})
        return Exit.DONE

    return server.ask(call)


def delegate(server: Server, run: str, key: str | None, to: str, comment: str | None) -> Exit:
    """Hand a vote on, and print the link of who has it now."""

    async def call(client: Client) -> Exit:
        chosen = key or await only_approval(client, run)
        body = {"delegate": to, "comment": comment}
        found = (await client.post("runs", run, "approvals", chosen, body=body)).body
        if server.json:
            write_json(found)
        else:
            tell(f"{found['approver']} has handed {chosen} on to {to}, whose link is")
            print(found["link"] or "")
        return Exit.DONE

    return server.ask(call)


def link(server: Server, run: str, key: str | None, approver: str, action: str | None) -> Exit:
    """Print a fresh link, alone on its line."""

    async def call(client: Client) -> Exit:
        chosen = key or await only_approval(client, run)
        wanted = {"run": run, "key": chosen, "approver": approver, "action": action}
        found = (await client.post("links", body=wanted)).body
        if server.json:
            write_json(found)
        else:
            print(found["url"])
            tell(f"good until {when(found['expires'])}")
        return Exit.DONE

    return server.ask(call)

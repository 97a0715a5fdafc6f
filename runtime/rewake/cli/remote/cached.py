"""`rewake cache list|clear`: results of tasks that are cached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import print_columns, when

_PAGE = 200
_HEADS = ("TASK", "CALL", "FROM RUN", "UNTIL", "BEING MADE BY")


def listing(server: Server) -> Exit:
    """A line for each result."""

    async def call(client: Client) -> Exit:
        pages = client.pages("results", "cache", query={"limit": _PAGE})
        found = [each async for each in pages]
        if server.json:
            write_json({"results": found})
        elif found:
            print_columns(_HEADS, [_cells(each) for each in found])
        return Exit.DONE

    return server.ask(call)


def clear(server: Server, task: str | None) -> Exit:
    """Clear page by page, and say how many went."""

    async def call(client: Client) -> Exit:
        cleared, cursor = 0, None
        while True:
            query = {"cursor": cursor}
            page = (await client.post("cache", "clear", body={"task": task}, query=query)).body
            cleared += page["cleared"]
            if (cursor := page["cursor"]) is None:
                break
        if server.json:
            write_json({"cleared": cleared})
        else:
            tell(f"{cleared} cleared")
        return Exit.DONE

    return server.ask(call)


def _cells(found: Mapping[str, Any]) -> Sequence[str]:
    maker = found["maker"]
    return (
        found["task"],
        found["key"],
        found["run"] or "",
        "" if found["until"] is None else when(found["until"]),
        "" if maker is None else f"{maker['run']} {maker['key']}",
    )

"""`rewake limits`: who holds what is limited, and who waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewake.cli.exits import Exit
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import print_columns, when

_PAGE = 200
_HEADS = ("LIMIT", "KEY", "KIND", "HELD", "WAITING", "FIRST IN LINE", "SINCE")


def listing(server: Server) -> Exit:
    """A line for each limit that something holds, or held lately."""

    async def call(client: Client) -> Exit:
        pages = client.pages("limits", "limits", query={"limit": _PAGE})
        found = [each async for each in pages]
        if server.json:
            write_json({"limits": found})
        elif found:
            print_columns(_HEADS, [_cells(each) for each in found])
        return Exit.DONE

    return server.ask(call)


def _cells(limit: Mapping[str, Any]) -> Sequence[str]:
    line = limit["waiting"]
    first = line[0] if line else None
    held = f"{len(limit['holders'])}/{limit['count']}"
    if limit["per"] is not None:
        held = f"{limit['count']} in {limit['per']:g} s"
    return (
        limit["name"],
        limit["key"] or "",
        limit["kind"],
        held,
        f"{len(line)}{'+' if limit['more'] else ''}",
        "" if first is None else " ".join(filter(None, (first["run"], first["key"]))),
        "" if first is None else when(first["since"]),
    )

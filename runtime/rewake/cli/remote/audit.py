"""`rewake audit list`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.acting import moment_of
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import print_columns, when


def listing(url: str | None, json: bool, query: Mapping[str, object], since: str | None) -> Exit:
    """What was done and refused, newest first."""
    begin = moment_of(since)
    asked = {**query, "since": begin and begin.astimezone(UTC).isoformat()}

    async def call(client: Client) -> Exit:
        page = (await client.get("audit", query=asked)).body
        if json:
            write_json(page)
            return Exit.DONE
        print_columns(_HEADS, [_row(entry) for entry in page["entries"]])
        if page["cursor"]:
            tell(f"more with --cursor {page['cursor']}")
        return Exit.DONE

    return Server(url, json).ask(call)


_HEADS = ("AT", "WHO", "ACTION", "OUTCOME", "RUN", "ABOUT", "FROM", "MORE")


def _row(entry: Mapping[str, Any]) -> list[str]:
    more = entry.get("more", 0)
    outcome = (
        entry["outcome"] if entry["outcome"] == "done" else f"{entry['outcome']} {entry['status']}"
    )
    return [
        when(entry["at"]),
        entry["who"] or "a stranger",
        entry["action"],
        outcome,
        entry.get("run", ""),
        entry.get("about", ""),
        entry.get("client", ""),
        f"{more} before it" if more else "",
    ]

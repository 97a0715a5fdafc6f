"""`rewake audit list`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rewake.cli.exits import Exit
from rewake.cli.remote.acting import moment_of
from rewake.cli.remote.runs import Server, page_of
from rewake.cli.tokens import print_columns, when

_STRANGER = "a stranger"
"""What the table calls who is not known, whose name is empty."""


def listing(url: str | None, json: bool, query: Mapping[str, object], since: str | None) -> Exit:
    """What was done and refused, newest first."""
    asked = {**query, "since": moment_of(since)}
    if asked.get("who") == _STRANGER:
        asked["who"] = ""
    return page_of(Server(url, json), "audit", _table, asked, "entries")


_HEADS = ("AT", "WHO", "ACTION", "OUTCOME", "RUN", "ABOUT", "FROM", "MORE")


def _table(entries: Sequence[Mapping[str, Any]]) -> None:
    print_columns(_HEADS, [_row(entry) for entry in entries])


def _row(entry: Mapping[str, Any]) -> list[str]:
    more = entry.get("more", 0)
    outcome = (
        entry["outcome"] if entry["outcome"] == "done" else f"{entry['outcome']} {entry['status']}"
    )
    return [
        when(entry["at"]),
        entry["who"] or _STRANGER,
        entry["action"],
        outcome,
        entry.get("run", ""),
        entry.get("about", ""),
        entry.get("client", ""),
        f"{more} before it" if more else "",
    ]

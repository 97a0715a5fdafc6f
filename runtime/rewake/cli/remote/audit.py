"""`rewake audit list`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.cli.columns import Columns, when
from rewake.cli.exits import Exit
from rewake.cli.remote.acting import moment_of
from rewake.cli.remote.runs import Server, page_of

_STRANGER = "a stranger"
"""What the table calls who is not known, whose name is empty."""


def listing(url: str | None, json: bool, query: Mapping[str, object], since: str | None) -> Exit:
    """What was done and refused, newest first."""
    asked = {**query, "since": moment_of(since)}
    if asked.get("who") == _STRANGER:
        asked["who"] = ""
    return page_of(Server(url, json), "audit", _ENTRIES, asked, "entries")


def _outcome(entry: Mapping[str, Any]) -> str:
    outcome = str(entry["outcome"])
    return outcome if outcome == "done" else f"{outcome} {entry['status']}"


_ENTRIES: Columns = (
    ("AT", lambda entry: when(entry["at"])),
    ("WHO", lambda entry: entry["who"] or _STRANGER),
    ("ACTION", lambda entry: entry["action"]),
    ("OUTCOME", _outcome),
    ("RUN", lambda entry: entry.get("run", "")),
    ("ABOUT", lambda entry: entry.get("about", "")),
    ("FROM", lambda entry: entry.get("client", "")),
    ("MORE", lambda entry: f"{entry['more']} before it" if entry.get("more") else ""),
)

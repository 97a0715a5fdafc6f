"""`rewake limits`: who holds what is limited, and who waits for it."""

from __future__ import annotations

from rewake.cli.columns import Columns, Item, when
from rewake.cli.exits import Exit
from rewake.cli.remote.runs import Server, whole_list
from rewake.spelled import spelled


def listing(server: Server) -> Exit:
    """A line for each limit that something holds, or held lately."""
    return whole_list(server, "limits", LIMITS, "limits")


def _held(limit: Item) -> str:
    if limit["per"] is not None:
        return f"{limit['count']} in {limit['per']:g} s"
    return f"{len(limit['holders'])}/{limit['count']}"


def _first(limit: Item) -> str:
    return " ".join(
        filter(None, (limit["waiting"][0]["run"], spelled(limit["waiting"][0]["key"] or "")))
    )


LIMITS: Columns = (
    ("LIMIT", lambda limit: limit["name"]),
    ("KEY", lambda limit: limit["key"] or ""),
    ("KIND", lambda limit: limit["kind"]),
    ("HELD", _held),
    ("WAITING", lambda limit: f"{len(limit['waiting'])}{'+' if limit['more'] else ''}"),
    ("FIRST IN LINE", lambda limit: _first(limit) if limit["waiting"] else ""),
    ("SINCE", lambda limit: when(limit["waiting"][0]["since"]) if limit["waiting"] else ""),
)

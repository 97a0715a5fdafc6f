"""`rewake deliveries list|show|replay`: what a server has kept of what was sent to its webhooks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.cli.columns import Columns, when
from rewake.cli.exits import Exit, complain, harmless, tell
from rewake.cli.output import write_json
from rewake.cli.remote.acting import moment_of
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, page_of

_FAILED = "failed"


def listing(url: str | None, json: bool, query: Mapping[str, object], since: str | None) -> Exit:
    """Deliveries, newest first."""
    asked = {**query, "since": moment_of(since)}
    return page_of(Server(url, json), "deliveries", _DELIVERIES, asked)


def show(url: str | None, json: bool, id: str) -> Exit:
    """One delivery: what became of it on stderr, its body on stdout."""

    async def call(client: Client) -> Exit:
        found = (await client.get("deliveries", id)).body
        if json:
            write_json(found)
        else:
            _show(found)
        return Exit.DONE

    return Server(url, json).ask(call)


def replay(url: str | None, json: bool, id: str) -> Exit:
    """Send a delivery again."""

    async def call(client: Client) -> Exit:
        found = (await client.post("deliveries", id, "replay")).body
        if json:
            write_json(found)
        elif "id" in found:
            print(found["id"])
        elif found["verdict"] != _FAILED:
            tell(f"the delivery is {found['verdict']}: it starts no run")
        else:
            complain(f"{found['reason']}: the log of the server has the whole error")
        return Exit.FAILED if found["verdict"] == _FAILED else Exit.DONE

    return Server(url, json).ask(call)


def _reason(found: Mapping[str, Any]) -> str:
    """Why it was refused, how many of its kind were, and that it was sent again."""
    reason = str(found.get("reason", ""))
    if "more" in found:
        reason += f" ({found['more']} more before it)"
    if "of" in found:
        reason = f"{found['of']} again, by {found.get('by', '?')} {reason}".rstrip()
    return reason


_DELIVERIES: Columns = (
    ("ID", lambda found: found["id"]),
    ("AT", lambda found: when(found["at"])),
    ("HOOK", lambda found: found["hook"]),
    ("VERDICT", lambda found: found["verdict"]),
    ("RUN", lambda found: found["run"] or ""),
    ("BYTES", lambda found: str(found["size"])),
    ("REASON", _reason),
)


def _show(found: Mapping[str, Any]) -> None:
    query = "&".join(f"{name}={text}" for name, text in found["query"])
    tell(f"{found['method']} /hooks/{found['hook']}{'?' if query else ''}{query}")
    for name, text in found["headers"]:
        tell(f"{name}: {text}")
    became = f"{found['verdict']} {found['run'] or ''}".rstrip()
    reason = f": {found['reason']}" if found.get("reason") else ""
    tell(f"{when(found['at'])}: {became}{reason}")
    if found["body"] is None:
        tell(f"its body of {found['size']} bytes was not kept")
    else:
        print(harmless(found["body"]))

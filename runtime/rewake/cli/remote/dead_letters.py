"""`rewake deadletters list|show|redrive`: what a server's queue has put aside."""

from __future__ import annotations

from rewake.cli.columns import Columns, show_list, tell_more, when
from rewake.cli.exits import Exit, harmless, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server

_PATH = "dead-letters"
_MESSAGES: Columns = (
    ("ID", lambda found: found["id"]),
    ("AT", lambda found: when(found["at"])),
    ("RUN", lambda found: found["run"] or ""),
    ("KEY", lambda found: found["key"]),
    ("BYTES", lambda found: str(found["size"])),
    ("REASON", lambda found: found["reason"]),
)


def listing(url: str | None, json: bool, limit: int) -> Exit:
    """Messages that were parked."""

    async def call(client: Client) -> Exit:
        found = (await client.get(_PATH, query={"limit": limit})).body
        if json:
            write_json(found)
        else:
            show_list(_MESSAGES, found["messages"], "messages")
            if found["more"]:
                tell_more(limit)
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
            print(harmless(found["message"]))
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

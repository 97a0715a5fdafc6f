"""`rewake tokens` on a server."""

from __future__ import annotations

from rewake.cli.exits import Exit, tell
from rewake.cli.output import write_json
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server
from rewake.cli.tokens import Wish, show_tokens
from rewake.views.moments import moment_or_none

_PAGE = 200


def create(url: str, wish: Wish) -> Exit:
    """Make a token, and print it."""
    body = {
        "name": wish.name,
        "scopes": wish.scopes,
        "workflows": wish.workflows,
        "tenant": wish.tenant,
        "expires": moment_or_none(wish.expires()),
    }

    async def call(client: Client) -> Exit:
        made = (await client.post("tokens", body=body)).body
        print(made["token"])
        if made.get("unknown"):
            tell(f"warning: this server has no workflow {', '.join(made['unknown'])}")
        return Exit.DONE

    return Server(url).ask(call)


def listing(url: str, json: bool) -> Exit:
    """What each token allows."""

    async def call(client: Client) -> Exit:
        pages = client.pages("tokens", "tokens", query={"limit": _PAGE})
        found = [token async for token in pages]
        if json:
            write_json({"tokens": found})
        else:
            show_tokens(found)
        return Exit.DONE

    return Server(url).ask(call)


def revoke(url: str, name: str) -> Exit:
    """Let a token be worth nothing any more."""

    async def call(client: Client) -> Exit:
        found = (await client.delete("tokens", name)).body
        print(f"the token {found['name']} is revoked")
        return Exit.DONE

    return Server(url).ask(call)

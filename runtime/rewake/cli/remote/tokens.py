"""`rewake tokens` on a server."""

from __future__ import annotations

from rewake.cli.exits import Exit, tell
from rewake.cli.remote.client import Client
from rewake.cli.remote.runs import Server, whole_list
from rewake.cli.tokens import TOKENS, Wish
from rewake.views.moments import moment_or_none


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
    return whole_list(Server(url, json), "tokens", TOKENS, "tokens")


def revoke(url: str, name: str) -> Exit:
    """Let a token be worth nothing any more."""

    async def call(client: Client) -> Exit:
        found = (await client.delete("tokens", name)).body
        print(f"the token {found['name']} is revoked")
        return Exit.DONE

    return Server(url).ask(call)

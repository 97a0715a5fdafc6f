"""`rewake tokens` in the database itself, as when no server runs yet that lets anybody in."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from rewake.access import Scope
from rewake.cli.exits import Exit
from rewake.cli.home import database
from rewake.cli.local.auditing import me, write_done
from rewake.cli.output import write_json
from rewake.cli.tokens import Wish, show_tokens
from rewake.clock import SystemClock
from rewake.hosts.databases import open_existing
from rewake.ledger import Token
from rewake.signing.api_tokens import make_token
from rewake.stores.reads import Reads
from rewake.views.access import token_view

_PAGE = 200


def create(db: str | None, wish: Wish) -> Exit:
    """Make a token, and print it."""
    allowed, expires, now = (wish.scopes, wish.workflows), wish.expires(), SystemClock().now()
    text, token = make_token(wish.name, *allowed, expires, by=me(), now=now, tenant=wish.tenant)

    async def work(store: Reads) -> None:
        await store.tokens.create(token)
        await write_done(store.audit, Scope.ADMIN, "token.create", about=token.name)

    _with_store(db, work)
    print(text)
    return Exit.DONE


def listing(db: str | None, json: bool) -> Exit:
    """What each token allows."""
    found: list[Token] = []

    async def work(store: Reads) -> None:
        cursor = None
        while True:
            page = await store.tokens.page(limit=_PAGE, cursor=cursor)
            found.extend(page.tokens)
            cursor = page.cursor
            if cursor is None:
                return

    _with_store(db, work)
    views = [msgspec.to_builtins(token_view(each)) for each in found]
    if json:
        write_json({"tokens": views})
    else:
        show_tokens(views)
    return Exit.DONE


def revoke(db: str | None, name: str) -> Exit:
    """Let a token be worth nothing any more."""

    async def work(store: Reads) -> None:
        await store.tokens.revoke(name)
        await write_done(store.audit, Scope.ADMIN, "token.revoke", about=name)

    _with_store(db, work)
    print(f"the token {name} is revoked")
    return Exit.DONE


def _with_store(db: str | None, work: Callable[[Reads], Awaitable[None]]) -> None:
    async def whole() -> None:
        table, shelf = open_existing(database(db))
        store = Reads(table, shelf)
        try:
            await work(store)
        finally:
            await store.close()

    asyncio.run(whole())

"""API tokens as they are stored: one item each, under an id that follows from its name.

So a name has one token, which is found in one read; what was made and what was revoked is true for
every process with the next read, since none keeps what it read.
"""

from __future__ import annotations

from typing import NamedTuple

from rewake.errors import TokenExists, TokenNotFound
from rewake.ledger import Token
from rewake.records import Millis
from rewake.signing.api_tokens import id_of
from rewake.stores.blobs import Again
from rewake.stores.keys import TOKENS, token_key
from rewake.stores.table import Check, Table


class TokenPage(NamedTuple):
    """Tokens, and the cursor of the next page (None: there is none)."""

    tokens: list[Token]
    cursor: str | None


class Tokens:
    """The API tokens of one table. `again` repeats a call if the table does not say how it went."""

    def __init__(self, table: Table, again: Again) -> None:
        self._table = table
        self._again = again

    async def find(self, id: str) -> Token | None:
        """The token of an id, None if there is none (any more)."""
        found: Token | None = await self._again(lambda: self._table.get(token_key(id)))
        return found

    async def create(self, token: Token) -> None:
        """Keep a new token. Raises `TokenExists`."""
        key = token_key(id_of(token.name))
        written = await self._again(lambda: self._table.put(key, token, absent=True))
        # Where it was written before, though that was not known, it is told by its digest.
        if not written.ok and written.item.digest != token.digest:
            raise TokenExists(f"there is a token {token.name!r} already: revoke it first")

    async def revoke(self, name: str) -> Token:
        """Remove a token, which it returns. Raises `TokenNotFound`."""
        key = token_key(id_of(name))
        found: Token | None = await self._again(lambda: self._table.get(key))
        if found is None or found.name != name:
            raise TokenNotFound(f"there is no token {name!r}")
        await self._again(lambda: self._table.delete([key]))
        return found

    async def used(self, token: Token, now: Millis) -> None:
        """Note that a token is used now, unless that was noted, or it was revoked, meanwhile."""
        noted = Check("used", "absent") if token.used is None else Check("used", "=", token.used)
        same = [[Check("digest", "=", token.digest), noted]]
        await self._table.update(token_key(id_of(token.name)), when=same, set={"used": now})

    async def page(self, *, limit: int, cursor: str | None) -> TokenPage:
        """A page of the tokens, in no order that means anything."""
        page = await self._table.query(TOKENS, limit=limit, cursor=cursor)
        return TokenPage([token for _, token in page.items], page.cursor)

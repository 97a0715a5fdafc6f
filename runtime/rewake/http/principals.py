"""Who stands behind a request: the bearer token it has, and what that allows.

Nothing that is read of an API token is kept: each request reads its item, once, by its key. In
SQLite that takes 40 microseconds, a few hundredths of a request, so a cache would gain little, and
would let a token live on that was revoked. The token of the server itself is in no store, nor are
those of an issuer (`identity/oidc.py`), which are told by their form and only there.
"""

from __future__ import annotations

import hmac
import logging
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from rewake.access import BOOTSTRAP, Principal, of_token
from rewake.clock import Clock
from rewake.errors import Unauthentic
from rewake.http.writes import Writes
from rewake.identity import oidc
from rewake.identity.oidc import Oidc
from rewake.ledger import Token
from rewake.records import Millis
from rewake.signing.api_tokens import digest_of, id_in
from rewake.signing.tokens import LONGEST, Keys, bearer_in
from rewake.stores.tokens import Tokens

log = logging.getLogger("rewake.http")

USED_EVERY: Millis = 60_000
"""So seldom it is written that a token is used."""
_MOST_NOTES = 100
"""The most tokens whose use is being written at once; that of others is noted the next time."""
_PATIENCE = 1.0
_STATE, _NAME = "state", "rewake_principal"
_NOBODY = "0" * 64


class Principals:
    """Tells who asks. `keys` has the tokens of the server itself, `tokens` are the API tokens.

    `oidc` knows those of an issuer, if there is one.
    """

    def __init__(self, keys: Keys, tokens: Tokens, clock: Clock, oidc: Oidc | None = None) -> None:
        self._keys = keys
        self._tokens = tokens
        self._clock = clock
        self._oidc = oidc
        self._noted: dict[str, Millis] = {}
        self._notes = Writes()

    async def of(self, authorizations: Sequence[str]) -> Principal:
        """Who has sent these `Authorization` headers.

        Raises `Unauthentic`, and `StoreError` or `IssuerUnavailable` if it cannot be known: then
        nobody is let in.
        """
        given = bearer_in(authorizations, LONGEST if self._oidc is None else oidc.LONGEST)
        if given is None:
            raise Unauthentic(_WRONG if authorizations else "a bearer token is needed")
        if self._keys.admits(given):
            return BOOTSTRAP
        if self._oidc is not None and self._oidc.is_formed(given):
            return await self._oidc.principal(given)
        named = id_in(given)
        token = await self._tokens.find(named) if named else None
        digest = _NOBODY if token is None else token.digest
        if not hmac.compare_digest(digest_of(given), digest) or token is None:
            raise Unauthentic(_WRONG)
        now = self._clock.now()
        if token.expires is not None and now >= token.expires:  # only its holder is told
            raise Unauthentic("this token has expired: ask for a new one")
        self._note(token, now)
        scopes, workflows = frozenset(token.scopes), frozenset(token.workflows)
        return Principal(of_token(token.name), scopes, workflows, tenant=token.tenant)

    def _note(self, token: Token, now: Millis) -> None:
        """Let it be written that a token is used, if it was not lately. No request waits for it."""
        last = max(token.used or 0, self._noted.get(token.digest, 0))
        if 0 <= now - last < USED_EVERY or len(self._notes) >= _MOST_NOTES:
            return
        if len(self._noted) >= _MOST_NOTES:
            self._noted.clear()
        self._noted[token.digest] = now
        self._notes.begin(self._write(token, now))

    async def _write(self, token: Token, now: Millis) -> None:
        try:
            await self._tokens.used(token, now)
        except Exception as error:
            log.warning("that the token %s is used could not be written: %s", token.name, error)

    async def close(self) -> None:
        """Wait for what is being written."""
        await self._notes.close(_PATIENCE)


_WRONG = "this bearer token is not accepted here (see `rewake token`)"


def with_principal(scope: MutableMapping[str, Any], found: Principal | None) -> dict[str, Any]:
    """The ASGI scope of a request, which says who asks. What an outer app said is not believed."""
    return {**scope, _STATE: {**scope.get(_STATE, {}), _NAME: found}}


def principal_in(scope: Mapping[str, Any]) -> Principal | None:
    """Who asks; None on what is open, or checks a signature of its own."""
    found: Principal | None = scope.get(_STATE, {}).get(_NAME)
    return found

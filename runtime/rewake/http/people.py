"""Who a person is that decides: whom a proxy or an issuer says it is, where the server asks that.

Without such a setting whoever holds a link decides as its holder. With it, a link alone is not
enough: who opens it must be known, and be whom it was made for. It stays usable for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from rewake.access import Principal
from rewake.clock import Clock
from rewake.errors import InvalidInput, Unauthentic
from rewake.identity import oidc
from rewake.identity.names import is_same
from rewake.identity.oidc import Oidc
from rewake.identity.proxies import name_in
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.tokens import bearer_in

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="rewake"'}
_UNKNOWN: Final = "It must be known who you are: open this link where you are logged in."


class Opener(NamedTuple):
    """Who opens a link: their name, and how the audit log calls them."""

    name: str
    who: str


class People:
    """Tells who decides."""

    def __init__(self, settings: IdentitySettings, clock: Clock) -> None:
        self.settings = settings
        self.oidc = None if settings.oidc is None else Oidc(settings.oidc, clock)

    @property
    def must_be_known(self) -> bool:
        """Whether who decides must be known, beside holding a link or a token."""
        return bool(self.settings.proofs)

    async def opener(self, scope: Scope) -> Opener | None:
        """Who opens a link, where that must be known; else None, and it is the link's holder.

        Raises a 401 or 403 if it is not known, and `IssuerUnavailable`.
        """
        if not self.must_be_known:
            return None
        found = await self._person(scope)
        if found is None:
            by_token = Proof.OIDC in self.settings.proofs
            raise HTTPException(
                401 if by_token else 403, _UNKNOWN, _CHALLENGE if by_token else None
            )
        return found

    def decider(
        self, principal: Principal, approvers: Sequence[str], named: str | None
    ) -> str | None:
        """Who decides over the API on what is asked of these, if the request names somebody.

        A person decides as who they are. A token is nobody: it decides in the name that it says,
        as its scope allows, but not where it must be known who decides. Raises a 403, and
        `InvalidInput`.
        """
        name = principal.identity
        if name and named is not None and not is_same(name, named):
            raise InvalidInput(f"you are {name}, and decide as nobody else", field="approver")
        asked = next((each for each in approvers if name and is_same(each, name)), None)
        if self.must_be_known and approvers and asked is None:
            told = f"This is asked of {', '.join(approvers)}, who decide as who they are"
            raise HTTPException(
                403, f"{told}: {f'you are {name}' if name else 'a token does not'}."
            )
        return asked or name or named or principal.person

    @staticmethod
    def as_holder(found: Opener, holder: str) -> str:
        """As whom somebody decides by a link for this holder (empty: for anybody). Raises a 403."""
        if holder and not is_same(holder, found.name):
            raise HTTPException(403, f"This link is for {holder}, and you are {found.name}.")
        return holder or found.name

    async def _person(self, scope: Scope) -> Opener | None:
        """Who asks, as the first says that can; None if nobody does."""
        proxy = self.settings.proxy
        name = None if proxy is None else name_in(proxy, Headers(scope=scope).raw)
        if name is not None:
            return Opener(name, f"proxy:{name}")
        if self.oidc is None or Proof.OIDC not in self.settings.proofs:
            return None
        given = bearer_in(Headers(scope=scope).getlist("authorization"), oidc.LONGEST)
        if given is None or not self.oidc.is_formed(given):
            return None
        try:
            found = await self.oidc.principal(given)
        except Unauthentic as error:
            raise HTTPException(401, f"Who are you? {error}.", _CHALLENGE) from error
        return Opener(found.identity, found.who)

    async def close(self) -> None:
        """End what is being fetched."""
        if self.oidc is not None:
            await self.oidc.close()

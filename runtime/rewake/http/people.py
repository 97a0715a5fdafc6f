"""Who a person is that decides: whom a proxy or an issuer says it is, where the server asks that.

Without such a setting whoever holds a link decides as its holder. With it, a link alone is not
enough: who opens it must be known, and be whom it was made for. It stays usable for them.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import Scope

from rewake.clock import Clock
from rewake.errors import Unauthentic
from rewake.identity import oidc
from rewake.identity.names import is_same
from rewake.identity.oidc import Oidc
from rewake.identity.proxies import name_in
from rewake.identity.settings import IdentitySettings, Proof
from rewake.signing.tokens import bearer_in

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="rewake"'}
_UNKNOWN: Final = "It must be known who you are: open this link where you are logged in."


class People:
    """Tells who opens a link."""

    def __init__(self, settings: IdentitySettings, clock: Clock) -> None:
        self._settings = settings
        self.oidc = None if settings.oidc is None else Oidc(settings.oidc, clock)

    @property
    def must_be_known(self) -> bool:
        """Whether who decides must be known, beside holding a link or a token."""
        return bool(self._settings.proofs)

    async def holder(self, scope: Scope, holder: str) -> str:
        """Who opens a link that was made for this holder (empty: for anybody).

        Raises a 401 if it is not known who it is and must be, a 403 if it is somebody else; and
        `IssuerUnavailable`.
        """
        if not self.must_be_known:
            return holder
        name = await self._name(scope)
        if name is None:
            with_token = Proof.OIDC in self._settings.proofs
            raise HTTPException(
                401 if with_token else 403, _UNKNOWN, _CHALLENGE if with_token else None
            )
        if holder and not is_same(holder, name):
            raise HTTPException(403, f"This link is for {holder}, and you are {name}.")
        return name

    async def _name(self, scope: Scope) -> str | None:
        """Who asks, as the first says that can; None if nobody does."""
        settings, headers = self._settings, Headers(scope=scope)
        if settings.proxy is not None:
            name = name_in(settings.proxy, headers.raw)
            if name is not None:
                return name
        if self.oidc is None or Proof.OIDC not in settings.proofs:
            return None
        given = bearer_in(headers.getlist("authorization"), oidc.LONGEST)
        if given is None or not self.oidc.is_formed(given):
            return None
        try:
            return (await self.oidc.principal(given)).identity
        except Unauthentic as error:
            raise HTTPException(401, f"Who are you? {error}", _CHALLENGE) from None

    async def close(self) -> None:
        """End what is being fetched."""
        if self.oidc is not None:
            await self.oidc.close()

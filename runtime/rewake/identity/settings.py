"""Whom a server believes who somebody is, and what a person must prove who decides by a link.

    link     whoever holds the link is its holder: what is so if nothing is set
    proxy    a proxy before the server has logged them in, and names them in a header
    oidc     they send a bearer token of the issuer with the request

With `proxy` or `oidc` (or both: either will do) the person must be whom the link was made for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from rewake.errors import ConfigError
from rewake.identity.oidc import Grants, OidcSettings, check_settings
from rewake.identity.proxies import ProxySettings, check_proxy


class Proof(StrEnum):
    """What tells who decides."""

    LINK = "link"
    PROXY = "proxy"
    OIDC = "oidc"


@dataclass(frozen=True, slots=True)
class IdentitySettings:
    """Whom a server believes. `proofs` are what a person must have one of, beside the link.

    Raises `ConfigError` for what cannot be relied on, or is only half of it.
    """

    oidc: OidcSettings | None = None
    proxy: ProxySettings | None = None
    proofs: frozenset[Proof] = frozenset()

    def __post_init__(self) -> None:
        if self.oidc is not None:
            check_settings(self.oidc)
        if self.proxy is not None:
            check_proxy(self.proxy)
        if Proof.OIDC in self.proofs and self.oidc is None:
            raise ConfigError("REWAKE_IDENTITY=oidc needs an issuer: set REWAKE_OIDC_ISSUER")
        if (Proof.PROXY in self.proofs) != (self.proxy is not None):
            told = (
                "REWAKE_IDENTITY_HEADER and _SECRET count with REWAKE_IDENTITY=proxy, and only so"
            )
            raise ConfigError(f"{told}: set all three")


def identity_settings(
    *,
    issuer: str = "",
    audience: str = "",
    name: str = "",
    grants: Grants | None = None,
    proofs: Sequence[str] = (),
    header: str = "",
    secrets: Sequence[str] = (),
) -> IdentitySettings:
    """The settings as the environment has them. Raises `ConfigError`."""
    oidc = proxy = None
    if issuer:
        oidc = OidcSettings(issuer, audience, name or "sub", grants or {})
    elif audience or name or grants:
        raise ConfigError("REWAKE_OIDC_ISSUER is missing, whose tokens are to be accepted")
    wanted = _proofs(proofs)
    if Proof.PROXY in wanted or header or secrets:
        proxy = ProxySettings(header.lower(), tuple(secrets))
    return IdentitySettings(oidc, proxy, wanted)


def _proofs(given: Sequence[str]) -> frozenset[Proof]:
    known = ", ".join(Proof)
    if any(each not in list(Proof) for each in given):
        raise ConfigError(f"REWAKE_IDENTITY must be of {known}")
    found = frozenset(Proof(each) for each in given)
    if Proof.LINK in found and len(found) > 1:
        raise ConfigError("REWAKE_IDENTITY is either link, or what must be proved beside the link")
    return found - {Proof.LINK}

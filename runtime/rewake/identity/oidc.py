"""Bearer tokens of an OpenID Connect issuer: whether one is genuine, and what it allows.

A token is a signed JWT (RFC 7519). It is good if one of the issuer's keys signed it, by an
algorithm of our list; if it is of this issuer and for this audience; and if it is its time. Which
key and algorithm are looked for is said by the token's own header, before anything is verified: so
the header picks among what is allowed and adds nothing to it. Keys and addresses in it are not
read. PyJWT verifies the signature; time is measured here, on the server's clock.

What a token allows is said by its claims: `REWAKE_OIDC_SCOPES` maps the values of claims to scopes,
and whose claims have no value in it may do nothing, but is known by name. One issuer is enough: who
has several puts a broker before them.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from rewake.access import Principal, Scope
from rewake.clock import Clock
from rewake.errors import ConfigError, Unauthentic
from rewake.identity.fetching import fetch_json, is_fetched
from rewake.identity.jwks import ALGORITHMS, Fetch, Jwks
from rewake.identity.names import is_name

LONGEST: Final = 16_384
"""The most characters of a token that is looked at: some name all groups of their holder."""
LEEWAY: Final = 60.0
"""Seconds by which the clocks of issuer and server may differ."""
LONGEST_KEY_ID: Final = 255

_FORM = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*", re.ASCII)
_TYPES = (None, "jwt", "at+jwt", "application/at+jwt")
"""What a token may say that it is; others are for something else, such as to log out."""
_LISTS = ("scope", "scp")
"""Claims that are lists of words in one text."""
_WRONG = "this bearer token is not accepted here"
_TROUBLES: Mapping[str, str] = {
    "InvalidSignatureError": "its signature is wrong",
    "InvalidAudienceError": "it is for another audience than REWAKE_OIDC_AUDIENCE",
    "InvalidIssuerError": "it is of another issuer than REWAKE_OIDC_ISSUER",
    "MissingRequiredClaimError": "it lacks one of the claims exp, iss and aud",
}
"""By the name of PyJWT's error: what an operator is told. Nothing of the token is in it."""

Grants = Mapping[str, Mapping[str, frozenset[Scope]]]
"""By claim and value: the scopes that it gives."""


@dataclass(frozen=True, slots=True)
class OidcSettings:
    """Whose tokens are accepted, and for what. `name`: the claim that says who somebody is."""

    issuer: str
    audience: str
    name: str = "sub"
    grants: Grants = field(default_factory=dict)


class _Header(msgspec.Struct):
    alg: str
    kid: str | None = None
    typ: str | None = None
    crit: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class Oidc:
    """Tells who has a token of the issuer. `fetch` gets its documents."""

    def __init__(self, settings: OidcSettings, clock: Clock, fetch: Fetch = fetch_json) -> None:
        self._settings = settings
        self._clock = clock
        self.jwks = Jwks(settings.issuer, clock, fetch)

    @staticmethod
    def is_formed(text: str) -> bool:
        """Whether this has the form of such a token: no token of ours has."""
        return len(text) <= LONGEST and _FORM.fullmatch(text) is not None

    async def principal(self, token: str) -> Principal:
        """Who has this token. Raises `Unauthentic`, `IssuerUnavailable`."""
        header = _header(token)
        key = await self.jwks.key(header.alg, header.kid)
        if key is None:
            told = "its issuer has no key that it names, or none for its algorithm"
            raise Unauthentic(_WRONG, why=_why(told))
        claims = self._verified(token, header.alg, key)
        self._check_time(claims)
        # A token that is bound to a key of its holder is no bearer token (RFC 7800, RFC 9449).
        if "cnf" in claims:
            raise Unauthentic("this token is bound to a key: only bearer tokens are accepted here")
        name = self._name(claims)
        return Principal(f"oidc:{name}", _scopes(self._settings.grants, claims), identity=name)

    async def close(self) -> None:
        """End what is being fetched."""
        await self.jwks.close()

    def _verified(self, token: str, algorithm: str, key: Any) -> dict[str, Any]:
        import jwt  # noqa: PLC0415 - slow to import, and seldom needed

        try:
            return jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                options={
                    "require": ["exp", "iss", "aud"],
                    "verify_exp": False,  # by our clock
                    "verify_nbf": False,
                    "verify_iat": False,
                },
            )
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError) as error:
            told = _TROUBLES.get(type(error).__name__, "it cannot be read")
            raise Unauthentic(_WRONG, why=_why(told)) from None

    def _check_time(self, claims: Mapping[str, Any]) -> None:
        """Raise `Unauthentic` unless it is the time of the token."""
        now = self._clock.now() / 1000
        for name in ("exp", "nbf", "iat"):
            at = claims.get(name, now)
            if isinstance(at, bool) or not isinstance(at, int | float) or not math.isfinite(at):
                raise Unauthentic(_WRONG, why=_why(f"its claim {name} is no time"))
            if name == "exp" and at + LEEWAY <= now:  # only its holder is told
                raise Unauthentic("this token has expired: ask for a new one")
            if name != "exp" and at - LEEWAY > now:
                raise Unauthentic("the time of this token has not come yet, or two clocks differ")

    def _name(self, claims: Mapping[str, Any]) -> str:
        wanted = self._settings.name
        name = claims.get(wanted)
        if not isinstance(name, str) or not is_name(name):
            raise Unauthentic(f"this token does not say who has it: it has no claim {wanted}")
        # Some issuers let people write any address into it.
        verified = claims.get("email_verified")
        if wanted == "email" and verified is not True and verified != "true":
            raise Unauthentic("the address in this token is not verified by its issuer")
        return name


def _why(told: str) -> str:
    """What the log has of a token whose sender is told no more than that it is not accepted."""
    return f"a token of an issuer: {told}"


def _header(token: str) -> _Header:
    """What a token says of its key. Raises `Unauthentic` for what is not accepted of anybody."""
    text = token.partition(".")[0]
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
        header = msgspec.json.decode(data, type=_Header)
    except (binascii.Error, msgspec.MsgspecError, ValueError, RecursionError):
        raise Unauthentic(_WRONG, why=_why("its header cannot be read")) from None
    typ = header.typ if header.typ is None else header.typ.lower()
    long = len(header.kid or "") > LONGEST_KEY_ID
    # No extension is understood here, so none that must be.
    if (
        header.alg not in ALGORITHMS
        or typ not in _TYPES
        or long
        or header.crit is not msgspec.UNSET
    ):
        told = "its header has an algorithm, a type or an extension that is not accepted"
        raise Unauthentic(_WRONG, why=_why(told))
    return header


# --- what claims allow ---------------------------------------------------------------------------


def read_grants(text: str) -> Grants:
    """What `REWAKE_OIDC_SCOPES` says. Raises `ConfigError`."""
    try:
        given = msgspec.json.decode(text, type=dict[str, dict[str, list[Scope]]])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        wanted = 'a JSON object such as {"groups": {"ops": ["read", "operate"]}}'
        raise ConfigError(f"REWAKE_OIDC_SCOPES must be {wanted}: {error}") from None
    return {
        claim: {value: frozenset(scopes) for value, scopes in values.items()}
        for claim, values in given.items()
    }


def check_settings(settings: OidcSettings) -> None:
    """Raise `ConfigError` unless tokens can be accepted by these settings."""
    if not is_fetched(settings.issuer):
        told = "https://host[:port][/path] (http only on this machine, for tests)"
        raise ConfigError(f"REWAKE_OIDC_ISSUER must be {told}")
    # Without one, a token that the issuer gave for any other service would be good here.
    if not settings.audience:
        raise ConfigError("REWAKE_OIDC_AUDIENCE is missing: for whom the issuer's tokens are")
    try:
        import cryptography  # noqa: F401, PLC0415
        import jwt  # noqa: F401, PLC0415
    except ImportError:
        told = "tokens of an issuer need a library: pip install 'rewake[oidc]'"
        raise ConfigError(told) from None


def _scopes(grants: Grants, claims: Mapping[str, Any]) -> frozenset[str]:
    found: set[str] = set()
    for claim, values in grants.items():
        for value in _values(claim, _claim(claims, claim)):
            found |= values.get(value, frozenset())
    return frozenset(found)


def _claim(claims: Mapping[str, Any], path: str) -> Any:
    """A claim by its name, or in an object by its path, as in `realm_access.roles`."""
    if path in claims:
        return claims[path]
    found: Any = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _values(claim: str, found: Any) -> list[str]:
    if isinstance(found, str):
        return found.split() if claim in _LISTS else [found]
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []

"""Bearer tokens: one that is derived from the app's secret, or those that are set."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from rewake.errors import ConfigError
from rewake.signing import api_tokens
from rewake.signing.secret import Secret

_PURPOSE = "token"
_PREFIX = "rewake_"
_DERIVED = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})", re.ASCII)
_JWT = re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]*", re.ASCII)
_MINIMUM = 16
LONGEST = 4_096
"""The most characters of a token that is looked at."""


def app_token(secret: Secret) -> str:
    """The bearer token that is derived from a secret, for use where none is set."""
    return _PREFIX + secret.sign(_PURPOSE).hex()


class Keys:
    """The tokens that are accepted: `tokens`, or without any, those derived from the secret.

    While a secret is rotated, the old one's token is accepted as long as the old one. Raises
    `ConfigError` for a token that is too short, cannot be sent in a header, or is an API token or
    one of an issuer: it would be let in without its limits.
    """

    def __init__(self, secret: Secret, tokens: Sequence[str] = ()) -> None:
        self.secret = secret
        self._tokens = [_checked(token) for token in tokens]

    def admits(self, given: str) -> bool:
        """Whether this is an accepted token, in constant time."""
        if not self._tokens:
            derived = _DERIVED.fullmatch(given)
            return derived is not None and self.secret.verify(bytes.fromhex(derived[1]), _PURPOSE)
        genuine = False
        for token in self._tokens:
            genuine |= hmac.compare_digest(token, given)
        return genuine

    @property
    def one(self) -> str:
        """One of them, for the server's own use."""
        return self._tokens[0] if self._tokens else app_token(self.secret)

    def __repr__(self) -> str:
        return "<Keys>"


def bearer_in(authorizations: Sequence[str], longest: int = LONGEST) -> str | None:
    """The bearer token in the `Authorization` headers of a request, if they are one and hold one.

    Of several none counts: others on the way may have looked at another one than we would.
    """
    if len(authorizations) != 1:
        return None
    scheme, _, given = authorizations[0].partition(" ")
    given = given.strip(" ")
    if scheme.lower() != "bearer" or not 0 < len(given) <= longest or not given.isascii():
        return None
    return given


def _checked(token: str) -> str:
    if len(token) < _MINIMUM or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"a token needs at least {_MINIMUM} printable ASCII characters: set REWAKE_TOKEN"
        )
    if len(token) > LONGEST:
        raise ConfigError(f"a token has at most {LONGEST} characters: set REWAKE_TOKEN")
    if api_tokens.is_formed(token):
        raise ConfigError(
            "REWAKE_TOKEN has an API token, which a server takes without naming it: the variable is"
            " for the server's own token, which is admin (a client may have an API token there)"
        )
    if _JWT.fullmatch(token):
        raise ConfigError(
            "REWAKE_TOKEN has a token of an issuer (a JWT), which would be admin here for ever: the"
            " variable is for the server's own token (a client may have a JWT there)"
        )
    return token

"""Bearer tokens: one that is derived from the app's secret, or those that are set."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from rewake.errors import ConfigError
from rewake.signing.secret import Secret

_PURPOSE = "token"
_PREFIX = "rewake_"
_DERIVED = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})", re.ASCII)
_MINIMUM = 16


def app_token(secret: Secret) -> str:
    """The bearer token that is derived from a secret, for use where none is set."""
    return _PREFIX + secret.sign(_PURPOSE).hex()


class Keys:
    """The tokens that are accepted: `tokens`, or without any, those derived from the secret.

    While a secret is rotated, the old one's token is accepted as long as the old one. Raises
    `ConfigError` for a token that is too short or cannot be sent in a header.
    """

    def __init__(self, secret: Secret, tokens: Sequence[str] = ()) -> None:
        self.secret = secret
        self._tokens = [_checked(token) for token in tokens]

    def admits(self, authorization: str | None) -> bool:
        """Whether this `Authorization` header holds an accepted token, in constant time."""
        scheme, _, given = (authorization or "").partition(" ")
        given = given.strip()
        if scheme.lower() != "bearer" or not given.isascii():
            return False
        if not self._tokens:
            derived = _DERIVED.fullmatch(given)
            return derived is not None and self.secret.verify(bytes.fromhex(derived[1]), _PURPOSE)
        genuine = False
        for token in self._tokens:
            genuine |= hmac.compare_digest(token, given)
        return genuine

    def __repr__(self) -> str:
        return "<Keys>"


def _checked(token: str) -> str:
    if len(token) < _MINIMUM or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"a token needs at least {_MINIMUM} printable ASCII characters: set REWAKE_TOKEN"
        )
    return token

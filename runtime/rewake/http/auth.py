"""Who may call.

Everything needs `Authorization: Bearer <token>` except health and readiness, and what the replicas
send one another, which is signed instead. The gate stands before the router and lets through what
it knows to be open: a route that is added later is closed by itself, and a stranger cannot tell
the paths that exist from those that do not.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rewake.errors import ConfigError, Unauthentic
from rewake.http.problems import problem_of
from rewake.secret import Secret

OPEN = frozenset({"/healthz", "/readyz"})
"""What answers anybody."""
SIGNED = frozenset({"/v1/invoke", "/v1/sweep"})
"""What checks a signature itself."""

_PURPOSE = "token"
_PREFIX = "rewake_"
_DERIVED = re.compile(rf"{_PREFIX}([0-9a-f]{{64}})", re.ASCII)
_MINIMUM = 16


def app_token(secret: Secret) -> str:
    """The bearer token that goes with a secret, where none is set."""
    return _PREFIX + secret.sign(_PURPOSE).hex()


class Keys:
    """The tokens that are accepted: `tokens`, or without any, those derived from the secret.

    While a secret is rotated, the tokens of the old one are accepted as long as it is. Raises
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


class Gate:
    """ASGI middleware that turns away whoever does not have a key."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._passes(scope):
            await self._app(scope, receive, send)
        elif scope["type"] == "http":
            refusal = problem_of(Unauthentic("a bearer token is needed"))
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _passes(self, scope: Scope) -> bool:
        if scope["type"] == "http" and path_of(scope) in OPEN | SIGNED:
            return True
        return self._keys.admits(Headers(scope=scope).get("authorization"))


def path_of(scope: Scope) -> str:
    """The path below the place where the app is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _checked(token: str) -> str:
    if len(token) < _MINIMUM or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"a token needs at least {_MINIMUM} printable ASCII characters: set REWAKE_TOKEN"
        )
    return token

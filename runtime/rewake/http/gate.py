"""The gate: which requests are let in.

Every path needs `Authorization: Bearer <token>`, except health and readiness, and the messages of
replicas and what comes by a link or a hook, which are signed instead. The gate stands before the
router and lets through only the paths that it knows to be open: a route that is added later is
closed by itself, and a stranger cannot tell the paths that exist from those that do not.
"""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rewake.errors import Unauthentic
from rewake.http.problems import plain, problem_of
from rewake.signing.tokens import Keys

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that answer without a token."""
SIGNED = frozenset({"/v1/invoke", "/v1/sweep"})
"""Paths whose endpoints check a signature (or, for a sweep, a token)."""
SELF_CHECKED = ("/hooks/", "/approve/", "/callback/", "/stream/")
"""What paths begin with whose endpoints check a signature of their own."""

_WRONG = "this bearer token is not accepted here (see `rewake token`)"
_CLOSED = plain(
    503,
    "the lifespan of this app did not run, so nothing would carry a run out: an app that mounts it"
    " must run it (`lifespan=` of the outer app, see the how-to)",
)


class Gate:
    """ASGI middleware that turns away requests without a key."""

    def __init__(self, app: ASGIApp, keys: Keys, opened: Callable[[], bool]) -> None:
        self._app = app
        self._keys = keys
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._passes(scope):
            # A run that is taken by an app that never opened would wait for ever.
            works = self._opened() or path_of(scope) == "/healthz"
            await (self._app if works else _CLOSED)(scope, receive, send)
        elif scope["type"] == "http":
            wrong = "authorization" in Headers(scope=scope)
            refusal = problem_of(Unauthentic(_WRONG if wrong else "a bearer token is needed"))
            await refusal(scope, receive, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    def _passes(self, scope: Scope) -> bool:
        if scope["type"] == "http" and path_of(scope) in OPEN | SIGNED:
            return True
        if scope["type"] == "http" and path_of(scope).startswith(SELF_CHECKED):
            return True
        return self._keys.admits(Headers(scope=scope).get("authorization"))


def path_of(scope: Scope) -> str:
    """The path below the place where the app is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))

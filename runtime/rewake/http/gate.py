"""The gate: which requests are let in.

Every path needs `Authorization: Bearer <token>`, except health and readiness, the messages of
replicas, which are signed instead, and what checks by itself who may call. The gate stands before
the router and lets through only the paths that it knows to be open: a route that is added later is
closed by itself, and a stranger cannot tell the paths that exist from those that do not.
"""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rewake.access import Principal
from rewake.errors import RewakeError, StoreError, Unauthentic
from rewake.http import needs
from rewake.http.auditor import client_of
from rewake.http.needs import route_of
from rewake.http.parts import Parts
from rewake.http.principals import with_principal
from rewake.http.problems import plain, problem_of
from rewake.http.verdicts import note_stray

log = logging.getLogger("rewake.http")

OPEN = frozenset({"/healthz", "/readyz"})
"""Paths that answer without a token."""
SIGNED = frozenset({"/v1/invoke", "/v1/sweep", "/v1/echo"})
"""Paths whose endpoints check a signature (or, for a sweep, a token)."""
SELF_CHECKED = tuple(needs.SELF_CHECKED)
"""What paths begin with whose endpoints check who may call, each in its own way."""

_CLOSED = plain(
    503,
    "the lifespan of this app did not run, so nothing would carry a run out: an app that mounts it"
    " must run it in its own (`async with running(app)`, of `rewake.embed`)",
)


class Gate:
    """ASGI middleware that turns away requests without a key, and says who has sent the others."""

    def __init__(self, app: ASGIApp, parts: Parts) -> None:
        self._app = app
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        try:
            principal = await self._principal(scope)
        except RewakeError as error:
            await self._refuse(error, scope, receive, send)
            return
        # A run that is taken by an app that never opened would wait for ever.
        works = self._parts.opened() or path_of(scope) == "/healthz"
        await (self._app if works else _CLOSED)(with_principal(scope, principal), receive, send)

    async def _principal(self, scope: Scope) -> Principal | None:
        """Who asks; None where nobody need say. Raises `Unauthentic`, `StoreError`."""
        given, path = Headers(scope=scope).getlist("authorization"), path_of(scope)
        if scope["type"] == "http":
            if path in OPEN or path.startswith(SELF_CHECKED):
                return None  # what a hook has in this header is for the hook
            if path in SIGNED and not given:
                return None
        return await self._parts.principals.of(given)

    async def _refuse(self, error: RewakeError, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = problem_of(error)
        if isinstance(error, Unauthentic):
            route, status = route_of(scope["method"], path_of(scope)), refusal.status_code
            tell = self._parts.auditor.tell
            client = client_of(scope)
            await tell(route.scope, route.action, status, client=client, why=error.why)
            await note_stray(self._parts, scope)
        elif isinstance(error, StoreError):
            log.error("who asks could not be known: %s", error)
        await refusal(scope, receive, send)


def path_of(scope: Scope) -> str:
    """The path below the place where the app is mounted."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))

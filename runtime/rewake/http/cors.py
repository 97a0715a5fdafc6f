"""Which pages of others may read a stream by its link, from a browser: none, unless it is said.

A link is all that is needed to read, and no cookie or token is ever taken from a browser; so what
is allowed here is that a page sees the answer to a link that it was given. Other paths answer no
page of others at all.
"""

from __future__ import annotations

from collections.abc import Sequence

from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from rewake.http.gate import path_of

PATH = "/stream/"
_MAX_AGE = 600


class StreamCors:
    """ASGI middleware that lets pages of these origins (`*`: of any) read streams by links."""

    def __init__(self, app: ASGIApp, origins: Sequence[str]) -> None:
        self._app = app
        self._open = CORSMiddleware(
            app,
            allow_origins=origins,
            allow_methods=["GET"],
            allow_headers=["Last-Event-ID"],
            expose_headers=["Retry-After"],
            max_age=_MAX_AGE,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        there = scope["type"] == "http" and path_of(scope).startswith(PATH)
        await (self._open if there else self._app)(scope, receive, send)

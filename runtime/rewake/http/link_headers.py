"""The headers of what is answered to links: kept nowhere, framed by nobody, told to nobody.

Every answer below these paths has them, whoever makes it: the router that knows no such path, and
what failed unforeseen, too. A link is in the address of its page, so no other page may learn it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewake import pages
from rewake.http.gate import path_of
from rewake.http.problems import plain
from rewake.signing.redacting import path_shown

log = logging.getLogger("rewake.http")

PATHS: Final = ("/approve/", "/stream/")
"""Where links of people live, and those for a browser."""
HEADERS: Final[Mapping[str, str]] = {
    "Content-Security-Policy": pages.CSP,
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
    "X-Content-Type-Options": "nosniff",
}


class LinkHeaders:
    """ASGI middleware that adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not path_of(scope).startswith(PATHS):
            await self._app(scope, receive, send)
            return
        begun = False

        async def guarded(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers[name] = value
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        except Exception:
            # Outside of here it would be logged with its path, and answered without the headers.
            path = path_shown(scope["path"])
            log.exception("%s %s failed", scope["method"], path)
            if not begun:
                await plain(500)(scope, receive, guarded)

"""The parts of an app that all its endpoints share."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.clock import Clock
from rewake.engine.engine import Engine
from rewake.http.auditor import Auditor
from rewake.http.bodies import LIMIT
from rewake.http.inbox import Inbox
from rewake.http.keeping import Keeper
from rewake.http.load import Load
from rewake.http.people import People
from rewake.http.principals import Principals
from rewake.http.readers import Readers
from rewake.http.view_counter import ViewCounter
from rewake.records import Outcome
from rewake.signing.tokens import Keys
from rewake.webhooks.hooks import Hook

_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


@dataclass(slots=True)
class Parts:
    """The parts of one app. Once `closing` is set it takes no work; `limit`: bytes of a body."""

    engine: Engine
    keys: Keys
    inbox: Inbox
    clock: Clock
    principals: Principals
    auditor: Auditor
    keeper: Keeper
    load: Load
    limit: int = LIMIT
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    closing: asyncio.Event = field(default_factory=asyncio.Event)
    readers: Readers = field(default_factory=Readers)
    people: People = field(kw_only=True)
    views: ViewCounter = field(kw_only=True)

    def opened(self) -> bool:
        """Whether the engine was opened, as the app's lifespan does."""
        return self.engine.services.home is not None

    async def outcome(self, run: str, wait: float, *, or_response: bool = False) -> Outcome | None:
        """The run's outcome, or None if it has not ended after `wait` seconds.

        `or_response`: or has answered its caller. A closing server waits no longer. Raises as
        `Engine.result` does.
        """
        if not wait or self.closing.is_set():
            return await self.engine.result(run)
        asked = asyncio.ensure_future(self.engine.result(run, wait, or_response=or_response))
        closing = asyncio.ensure_future(self.closing.wait())
        try:
            await asyncio.wait({asked, closing}, return_when=asyncio.FIRST_COMPLETED)
            return asked.result() if asked.done() else None
        finally:
            asked.cancel()
            closing.cancel()


def parts_of(request: Request) -> Parts:
    """The parts of the app that got the request."""
    parts: Parts = request.app.state.parts
    return parts


def located(request: Request, path: str) -> str:
    """Where a path of this app is for who asks it by its host: below the prefix of `REWAKE_URL`,
    else of the app that it is mounted in.
    """
    url = parts_of(request).engine.services.settings.url
    prefix: str = urlsplit(url).path if url else request.scope.get("root_path", "")
    return prefix.rstrip("/") + path


def reply(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response."""
    return Response(
        msgspec.json.encode(content),
        status,
        headers={**_HEADERS, **(headers or {})},
        media_type="application/json",
    )

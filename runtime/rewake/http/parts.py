"""The parts of an app that all its endpoints share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar
from urllib.parse import urlsplit

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.clock import Clock
from rewake.doctor.host import Ticks
from rewake.engine.engine import Engine
from rewake.engine.handover.within import seconds_left
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
from rewake.spelled import key_meant
from rewake.webhooks.hooks import Hook

T = TypeVar("T")

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
    ticks: Ticks = field(kw_only=True)
    platform: str = field(default="container", kw_only=True)
    streams: bool = field(default=True, kw_only=True)
    """Whether what is sent of an answer arrives before the answer is whole."""

    def opened(self) -> bool:
        """Whether the engine was opened, as the app's lifespan does."""
        return self.engine.services.home is not None

    async def outcome(
        self, request: Request, run: str, wait: float, *, or_response: bool = False
    ) -> Outcome | None:
        """The run's outcome, or None if it has not ended after `wait` seconds.

        `or_response`: or has answered its caller. It is waited for as in `waited`, and no longer
        than the request may take. Raises as `Engine.result` does.
        """
        wait = no_longer(wait)
        if not wait or self.closing.is_set():
            return await self.engine.result(run)
        asked = self.engine.result(run, wait, or_response=or_response)
        return await self.waited(asked, hung_up(request))

    async def waited(
        self, asked: Coroutine[Any, Any, T], *ends: Coroutine[Any, Any, None]
    ) -> T | None:
        """What is asked for; None if one of `ends` comes first, or the server closes.

        A place among those that wait is worth more than an answer that nobody hears: a client that
        gives up and asks again would else hold one for each time.
        """
        work = asyncio.ensure_future(asked)
        rest = [asyncio.ensure_future(each) for each in (_set(self.closing), *ends)]
        try:
            await asyncio.wait({work, *rest}, return_when=asyncio.FIRST_COMPLETED)
            return work.result() if work.done() else None
        finally:
            for each in (work, *rest):
                each.cancel()


def no_longer(wait: float) -> float:
    """So many seconds, or as many as there are for this request."""
    left = seconds_left()
    return wait if left is None else min(wait, left)


async def hung_up(request: Request) -> None:
    """Return once the client of a request, whose body is not needed any more, has gone away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _set(event: asyncio.Event) -> None:
    await event.wait()


def parts_of(request: Request) -> Parts:
    """The parts of the app that got the request."""
    parts: Parts = request.app.state.parts
    return parts


def operation_in(request: Request) -> tuple[str, str]:
    """The run and the key of the operation that a path names, spelled out or not."""
    return request.path_params["run"], key_meant(request.path_params["key"])


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

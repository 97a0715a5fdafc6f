"""A process that stands still between requests: a *pausing* host, as functions have it.

There nothing may go on once a request is answered: threads, timers and tasks of the event loop
stop where they are, for a second or for ever. So

- the engine is opened by the first request, and never sweeps by itself;
- work comes as requests too, by `POST /v1/invoke`, which are answered once it is done; all other
  requests begin none, but send messages;
- when the last request that is under way is about to be answered, its end is held back until this
  process holds nothing and has nothing to send (`Engine.rest`). To stand still is then a pause and
  no death: no lease runs out meanwhile.

Each request has a deadline. Work that is not over a moment before is handed over
(`rewake.engine.handover.within`).
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rewake.engine.handover.within import ending_at
from rewake.hosts.hosts import Host
from rewake.hosts.own_loop import acknowledge
from rewake.http.app import rest, running
from rewake.http.parts import Parts
from rewake.http.problems import BLANK, MEDIA_TYPE, Problem

WORK = ("/v1/invoke", "/v1/sweep")
"""The requests for which nobody waits: they may take as long as the host lets them."""
_LONG = 86_400.0

SecondsOf = Callable[[MutableMapping[str, Any]], float | None]
"""How many seconds are left for a request, as its platform says with it."""


def margin(seconds: float) -> float:
    """How long before its deadline a request ends its work, to release everything in time."""
    return min(5.0, max(1.5, seconds / 10), seconds / 2)


class Pauses:
    """What is under way in a process that stands still when nothing is."""

    def __init__(self, app: Starlette) -> None:
        self._app = app
        self._under_way = 0
        self._came = asyncio.Event()
        self._opening: asyncio.Future[None] | None = None
        self._context = contextvars.copy_context()  # and not that of the first request
        self._running: Any = None

    def opened(self) -> bool:
        """Whether the app is open, by a lifespan or a request."""
        parts: Parts = self._app.state.parts
        return parts.opened()

    async def open(self) -> None:
        """Open the app, unless a lifespan did."""
        if self.opened():
            return
        if self._opening is None:
            loop = asyncio.get_running_loop()
            self._opening = loop.create_task(self._open(), context=self._context.copy())
        opening = self._opening
        try:
            await asyncio.shield(opening)
        finally:
            if opening.done() and self._opening is opening:
                self._opening = None  # what failed is tried again

    async def _open(self) -> None:
        self._running = running(self._app)
        await self._running.__aenter__()  # and never left: the platform ends the process

    @asynccontextmanager
    async def working(self, seconds: float) -> AsyncIterator[float]:
        """Do something that may take so many seconds; the loop's time until which it may work."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds - margin(seconds)
        self._under_way += 1
        self._came.set()
        try:
            await self.open()
            with ending_at(until):
                yield until
        finally:
            self._under_way -= 1
            if not self._under_way and self.opened():
                await self._rest(until)

    async def _rest(self, until: float) -> None:
        """Come to rest; whoever comes before there is nothing to wait for does so in the end."""
        loop, parts = asyncio.get_running_loop(), self._app.state.parts
        self._came.clear()
        waits = parts.engine.settle(max(0.0, until - loop.time())), self._came.wait()
        both = [asyncio.ensure_future(each) for each in waits]
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in both:
                each.cancel()
        if not self._came.is_set():
            await rest(self._app, max(0.0, until - loop.time()))


async def sweep(app: Starlette, seconds: float) -> None:
    """Check all that is due, for a platform that says by itself when: within so many seconds."""
    pauses: Pauses = app.state.pauses
    async with pauses.working(seconds):
        await app.state.parts.engine.sweep()


class Pausing:
    """ASGI middleware: holds back the end of an answer until the process may stand still."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        host: Host,
        pauses: Pauses,
        seconds_of: SecondsOf | None = None,
    ) -> None:
        self._app = app
        self._host = host
        self._pauses = pauses
        self._seconds_of = seconds_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self._pauses.opened():
            await acknowledge(receive, send)  # something came before it
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        seconds = self._seconds(scope)
        answer = _Answer(send, self._host)
        async with self._pauses.working(seconds) as until:
            patience = None if scope["path"].endswith(WORK) else self._host.patience
            soon = until if patience is None else asyncio.get_running_loop().time() + patience
            with ending_at(min(until, soon)):
                await self._app(scope, receive, answer.take)
        await answer.end()

    def _seconds(self, scope: Scope) -> float:
        told = None if self._seconds_of is None else self._seconds_of(scope)
        return told or self._host.deadline or _LONG


class _Answer:
    """Passes an answer on, but for its last part; all of it at the end, where nothing streams."""

    def __init__(self, send: Send, host: Host) -> None:
        self._send = send
        self._host = host
        self._held: list[Message] = []
        self._size = 0

    async def take(self, message: Message) -> None:
        whole = not self._host.streams
        if whole or (message["type"] == "http.response.body" and not message.get("more_body")):
            self._held.append(message)
        else:
            await self._send(message)
        self._size += len(message.get("body", b""))

    async def end(self) -> None:
        most = self._host.largest_response
        if most is not None and self._size > most and not self._host.streams:
            self._held = list(too_large(self._host, self._size, most))
        for message in self._held:
            await self._send(message)


def too_large(host: Host, size: int, most: int) -> tuple[Message, Message]:
    """What is answered instead of what the host cannot carry."""
    told = f"the answer has {size:,} bytes, and {host.title} carries {most:,}: ask for less"
    body = msgspec.json.encode(Problem("Answer too large", 507, BLANK, told))
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"cache-control", b"no-store")]
    start = {"type": "http.response.start", "status": 507, "headers": headers}
    return start, {"type": "http.response.body", "body": body}

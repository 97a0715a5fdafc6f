"""For servers that make an event loop for each request: the app runs in one of its own.

An engine belongs to one event loop, with its locks, its tasks and its connections. Some adapters
of platforms make a new one whenever a request comes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import TypeVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")


class OwnLoop:
    """ASGI: carries requests, from whichever event loop, to an app in one that is kept.

    The app opens itself with its first request, as one of a pausing host does: there is no moment
    at which such a server would end it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await acknowledge(receive, send)
            return
        here = asyncio.get_running_loop()

        async def receive_there() -> Message:
            return await _in(here, receive)

        async def send_there(message: Message) -> None:
            await _in(here, lambda: send(message))

        await _in(self._kept(), lambda: self._app(scope, receive_there, send_there))

    def _kept(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                run = self._loop.run_forever
                threading.Thread(target=run, name="rewake-loop", daemon=True).start()
        return self._loop


async def _in(loop: asyncio.AbstractEventLoop, begin: Callable[[], Awaitable[T]]) -> T:
    """The result of what is begun, and awaited, in another loop."""

    async def work() -> T:
        return await begin()

    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))


async def acknowledge(receive: Receive, send: Send) -> None:
    """Answer a lifespan of which nothing depends."""
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return

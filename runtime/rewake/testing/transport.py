"""Requests of a client to the app of a test, in its virtual time and without a network."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from rewake.client.answers import Answer, Lost
from rewake.client.asking import Ask
from rewake.testing.outsider import Request
from rewake.testing.process import FOREVER, URL
from rewake.testing.world import World


class InWorld:
    """Sends to the process of a world, once all is done there that can be done at this moment; and
    answers once all is done that follows at once, so that a test sees what its fakes were asked.

    A request that waits asks again whenever something was written, and never looks at a clock.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost:
        """Send it, and read the answer whole."""
        del address  # it says how long to wait, which is not for the server here
        begun, ever = asyncio.get_running_loop().time(), ask.wait >= FOREVER / 1000
        until = math.inf if ever else begun + ask.wait
        while True:
            await self._world.settled()
            seen = self._world.table.writes
            url = replace(ask, wait=0).address(URL)
            work = self._exchange(ask.method, url, headers, ask.body or b"")
            got = await self._world.asked(work)
            await self._world.settled()
            if not ask.wait or ask.method != "GET" or not _is_pending(ask, got):
                return got
            if not await self._world.changed(seen, until):
                return got

    async def close(self) -> None:
        """Nothing is open."""

    async def request(self, asked: Request) -> Answer | Lost:
        """Send what somebody else sends, and read the answer whole."""
        await self._world.settled()
        url = f"{URL}{asked.target}"
        work = self._exchange(asked.method, url, asked.headers, asked.content)
        got = await self._world.asked(work)
        await self._world.settled()
        return got

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes
    ) -> Answer:
        status, told, body = 0, dict[str, str](), b""
        sent = [{"type": "http.request", "body": content}]

        async def receive() -> dict[str, Any]:
            if not sent:
                await asyncio.get_running_loop().create_future()
            return sent.pop()

        async def send(message: Any) -> None:
            nonlocal status, told, body
            if message["type"] == "http.response.start":
                status = message["status"]
                told = {name.decode().lower(): text.decode() for name, text in message["headers"]}
            else:
                body += message.get("body", b"")

        scope = scope_of(method, url, {"host": urlsplit(url).netloc, **headers})
        await self._world.process.http(scope, receive, send)
        return Answer(status, told, body)


def _is_pending(ask: Ask, got: Answer | Lost) -> bool:
    """Whether what is waited for has not come yet."""
    if isinstance(got, Lost):
        return False
    if got.status != 200:
        return got.status == 202
    if ask.path[-1:] == ("stream",):
        page = msgspec.json.decode(got.body)
        return not (page["items"] or page["ended"])
    is_signal = ask.path[-2:-1] == ("signals",)
    return is_signal and msgspec.json.decode(got.body)["state"] == "sent"


def scope_of(method: str, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """A request from this machine as ASGI tells an app of it."""
    told = urlsplit(url)
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(told.path),
        "raw_path": told.path.encode(),
        "root_path": "",
        "query_string": told.query.encode(),
        "headers": [(name.lower().encode(), text.encode()) for name, text in headers.items()],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }

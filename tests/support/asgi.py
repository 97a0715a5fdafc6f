"""Requests to an app in virtual time: what it sends is seen as it comes, and a client may leave."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette

from rewake.http.app import create_app
from rewake.http.parts import Parts
from rewake.testing.clock import VirtualClock
from rewake.testing.transport import scope_of
from tests.support.virtual import SECRET, Bench

TOKEN = "a-token-of-the-virtual-world"
URL = "https://rewake.example/below"


def served(bench: Bench, **how: Any) -> Starlette:
    """The HTTP face of an engine in virtual time."""
    clock = VirtualClock(bench.loop)
    return create_app(bench.engine, SECRET, tokens=[TOKEN], clock=clock, **how)


def parts(app: Starlette) -> Parts:
    """The parts of an app."""
    found: Parts = app.state.parts
    return found


class Exchange:
    """One request, and what was answered so far."""

    def __init__(self, app: Starlette, method: str, url: str, **how: Any) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.body = b""
        self._left = asyncio.Event()
        self._begun = asyncio.Event()
        self._request = {"type": "http.request", "body": how.pop("body", b"")}
        self.task = asyncio.ensure_future(
            app(_scope(method, url, **how), self._receive, self._send)
        )

    async def begun(self) -> None:
        """Wait until it is answered, at least in part."""
        await self._begun.wait()

    async def leave(self) -> None:
        """Let the client go away."""
        self._left.set()
        await self.task

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def events(self) -> list[dict[str, str]]:
        """The events that came whole, by their fields."""
        blocks = self.body.decode().split("\n\n")[:-1]
        fields = [[line.split(": ", 1) for line in block.split("\n")] for block in blocks]
        return [{name: value for name, value in block if name} for block in fields]

    async def _receive(self) -> dict[str, Any]:
        if self._request:
            request, self._request = self._request, {}
            return request
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._begun.set()
            self.headers = {k.decode(): v.decode() for k, v in message["headers"]}
        else:
            self.body += message.get("body", b"")


def _scope(
    method: str, url: str, *, token: str | None = TOKEN, headers: Mapping[str, str] = {}
) -> dict[str, Any]:
    given = {} if token is None else {"authorization": f"Bearer {token}"}
    return scope_of(method, url, {**headers, **given})


async def ask(app: Starlette, method: str, url: str, **how: Any) -> Exchange:
    """A request that is answered whole."""
    if "json" in how:
        how["body"] = msgspec.json.encode(how.pop("json"))
        how["headers"] = {**how.get("headers", {}), "content-type": "application/json"}
    exchange = Exchange(app, method, url, **how)
    await exchange.task
    return exchange

"""Transports for clients in tests: a script of answers, or an app of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Self

import msgspec
from starlette.applications import Starlette

from rewake.client.answers import Answer, Lost
from rewake.client.asking import Ask
from rewake.client.async_client import AsyncClient
from tests.support.asgi import TOKEN, Exchange

URL = "http://server.example/below"
JSON = {"content-type": "application/json"}


def answer(status: int, body: Any = None, **headers: str) -> Answer:
    """An answer in JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {**JSON, **named}, msgspec.json.encode(body))


def problem(status: int, name: str = "", **more: Any) -> Answer:
    """An answer that tells of a problem."""
    kind = f"urn:rewake:problem:{name}" if name else "about:blank"
    return answer(status, {"title": "It is so", "status": status, "type": kind, **more})


class Scripted:
    """Answers what a script says, the last line for ever; knows what was asked, and when.

    A number is how many seconds pass before the next line.
    """

    def __init__(self, *script: Answer | Lost | float) -> None:
        self._script = list(script)
        self.asked: list[Ask] = []
        self.addresses: list[str] = []
        self.headers: list[Mapping[str, str]] = []
        self.times: list[float] = []

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost:
        self.asked.append(ask)
        self.addresses.append(address)
        self.headers.append(headers)
        self.times.append(round(asyncio.get_running_loop().time(), 3))
        while True:
            line = self._script[0] if len(self._script) == 1 else self._script.pop(0)
            if not isinstance(line, (int, float)):
                return line
            await asyncio.sleep(line)

    async def close(self) -> None:
        """Nothing is open."""

    def client(self, **how: Any) -> AsyncClient:
        """A client that is told what the script says."""
        return AsyncClient(URL, TOKEN, transport=self, **how)


class InProcess:
    """Sends to an app of this process, which may go away (`app = None`).

    `lost`: of how many of the next requests the answer does not come, though it was given.
    """

    def __init__(self, app: Starlette | None, root: str = "") -> None:
        self.app = app
        self.lost = 0
        self.sent = 0
        self._root = root

    async def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost:
        self.sent += 1
        if self.app is None:
            return Lost("Connection refused", sent=False)
        given = {name: value for name, value in headers.items() if name != "Authorization"}
        token = headers.get("Authorization", "").removeprefix("Bearer ") or None
        body = ask.body or b""
        exchange = Exchange(self.app, ask.method, address, body=body, headers=given, token=token)
        await exchange.task
        if self.lost:
            self.lost -= 1
            return Lost("Connection reset by peer")
        return Answer(exchange.status, exchange.headers, exchange.body)

    async def close(self) -> None:
        """Nothing is open."""

    def client(self, **how: Any) -> AsyncClient:
        """A client of that app."""
        return AsyncClient("http://127.0.0.1", TOKEN, transport=self, **how)

    def __enter__(self) -> Self:
        return self

"""What commands ask a server through: the client of programs, which tries nothing again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any, TypeVar

from rewake.cli.home import find_token
from rewake.client.answers import Reply
from rewake.client.asking import Ask, Flow, Manner, sending
from rewake.client.async_client import AsyncClient
from rewake.values.data import encoded

T = TypeVar("T")


class Client:
    """Talks to the server at `url`; to be used as an async context manager."""

    def __init__(self, url: str | None) -> None:
        self._asks = AsyncClient(url, find_token(), patience=0)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._asks.close()

    @property
    def manner(self) -> Manner:
        """How it asks: for the flows of `do`."""
        return self._asks.manner

    async def do(self, flow: Flow[T]) -> T:
        """Carry out an operation. Raises `RewakeError` if it fails."""
        return await self._asks.do(flow)

    async def get(
        self, *path: str, query: Mapping[str, object] | None = None, wait: float = 0
    ) -> Reply:
        """GET; the server may `wait` so many seconds. Raises `RewakeError` if it fails."""
        return await self._send(Ask("GET", ("v1", *path), query or {}, wait=wait))

    async def post(
        self, *path: str, body: object = None, query: Mapping[str, object] = {}
    ) -> Reply:
        """POST a JSON body. Raises `RewakeError` if it fails."""
        data = None if body is None else encoded(body)
        return await self._send(Ask("POST", ("v1", *path), query, body=data))

    async def get_at(self, path: str) -> Reply:
        """GET what is not below `/v1`. Raises `RewakeError` if it fails."""
        return await self._send(Ask("GET", (path,)))

    async def delete(self, *path: str) -> Reply:
        """DELETE. Raises `RewakeError` if it fails."""
        return await self._send(Ask("DELETE", ("v1", *path)))

    def pages(
        self, name: str, *path: str, query: Mapping[str, object] = {}
    ) -> AsyncIterator[dict[str, Any]]:
        """The items of a list, of all its pages. Raises `RewakeError` if it fails."""
        return self._asks.pages(name, *path, query=query)

    async def _send(self, ask: Ask) -> Reply:
        return await self._asks.do(sending(ask, self.manner))

"""What a server reads of a connection before there is a request, or beside its body, is bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from rewake.hosts.bounded_http import HEAD_TIME, LARGEST_HEAD, BoundedHttp
from tests.support.virtual import Bench, virtually

PIECE = 16 * 1024
GET = b"GET /%s HTTP/1.1\r\nHost: x\r\n\r\n"
CHUNKED = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


class Wire(asyncio.Transport):
    """A connection to a server that answers each request with the size of its body."""

    def __init__(self) -> None:
        super().__init__()
        self.sent = b""
        self.bodies: list[int] = []
        self.closed = False
        config = uvicorn.Config(
            self._app, http=BoundedHttp, interface="asgi3", log_config=None, lifespan="off"
        )
        config.load()
        self._end = BoundedHttp(config=config, server_state=ServerState(), app_state={})
        self._end.connection_made(self)

    async def send(self, *pieces: bytes) -> None:
        """Let these come, one after another, for as long as the connection is open."""
        for each in pieces:
            if not self.closed:
                self._end.data_received(each)
                await asyncio.sleep(0)

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: Any) -> None:
        self.sent += data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._end.connection_lost(None)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def pause_reading(self) -> None:
        """It is never ahead."""

    def resume_reading(self) -> None:
        """It is never ahead."""

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        self.bodies.append(size)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def wired(body: Callable[[Wire], Awaitable[None]]) -> None:
    """Do something to a connection, in virtual time."""

    async def main(_: Bench) -> None:
        wire = Wire()
        await body(wire)
        wire.close()

    virtually([], main)


@pytest.mark.parametrize(
    "begun",
    [b"GET /", b"GET /?", b"GET / HTTP/1.1\r\nX", b"GET / HTTP/1.1\r\nX: ", b"\r\n", b""],
)
def test_a_head_without_an_end(begun: bytes) -> None:
    """It is refused once it is too large, and not read further, whatever grows in it."""
    more = b"\r\n" if begun in (b"\r\n", b"") else b"a"

    async def body(wire: Wire) -> None:
        await wire.send(begun, *[more * (PIECE // len(more))] * 100)
        assert wire.closed
        assert wire.sent.startswith((b"HTTP/1.1 431 ", b"HTTP/1.1 400 "))
        assert wire._end._besides < LARGEST_HEAD + 2 * PIECE

    wired(body)


@pytest.mark.parametrize("flood", [b"3;" + b"a" * 10_000_000, b"0\r\nX: " + b"a" * 10_000_000])
def test_what_is_beside_a_body(flood: bytes) -> None:
    """The extensions of chunks and what follows the last one are bounded as a head is."""
    pieces = [flood[at : at + PIECE] for at in range(0, len(flood), PIECE)]

    async def body(wire: Wire) -> None:
        await wire.send(CHUNKED, b"2\r\nab\r\n", *pieces)
        assert wire.closed
        assert wire.bodies == []
        assert wire._end._besides < LARGEST_HEAD + 2 * PIECE

    wired(body)


def test_bodies_have_their_own_bound() -> None:
    """However large a body is, in one piece with its head or in many, chunked or not, it is read;
    and so are requests one after another, or at once.
    """

    async def body(wire: Wire) -> None:
        size = 20 * PIECE
        head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size
        await wire.send(head, *[b"x" * PIECE] * 20)
        await wire.send(head + b"x" * size)
        await wire.send(CHUNKED, *[b"1;a=b\r\nx\r\n" for _ in range(PIECE)], b"0\r\nX: y\r\n\r\n")
        await wire.send(*[GET % b"a" for _ in range(100)])
        await wire.send(b"".join(GET % b"b" for _ in range(100)))
        await wire.send(GET % (b"a" * (LARGEST_HEAD - 100)))
        await asyncio.sleep(1)
        assert not wire.closed
        assert wire.bodies == [size, size, PIECE, *[0] * 201]

    wired(body)


@pytest.mark.parametrize("before", [b"", b"GET / HTTP/1.1\r\nX: ", b"\r\n"])
@pytest.mark.parametrize("first", [b"", GET % b""])
def test_a_head_has_its_time(first: bytes, before: bytes) -> None:
    """A connection on which none comes is closed, also one that was used before; a byte now and
    then does not keep it open.
    """

    async def body(wire: Wire) -> None:
        await wire.send(first)
        await asyncio.sleep(1)
        await wire.send(before)
        for _ in range(int(HEAD_TIME) - 2):
            await asyncio.sleep(1)
            assert not wire.closed or (first and not before)  # uvicorn's own time for that
            await wire.send(b"\r\n" if before == b"\r\n" else b"a" if before else b"")
        await asyncio.sleep(5)
        assert wire.closed

    wired(body)


def test_a_request_may_take_its_time() -> None:
    """Once its head is there neither a body nor an answer is hurried here."""

    async def body(wire: Wire) -> None:
        await wire.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n")
        for _ in range(2):
            await asyncio.sleep(3 * HEAD_TIME)
            await wire.send(b"x")
        await asyncio.sleep(1)
        assert wire.bodies == [2]
        assert not wire.closed

    wired(body)

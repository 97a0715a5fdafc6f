"""What comes before a body has bounds: its size, and how long it may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvicorn
from uvicorn.server import ServerState

from rewake.hosts.protocol import (
    HEAD_TIME,
    LARGEST_HEAD,
    LONGEST_URL,
    MOST_HEADERS,
    BoundedProtocol,
)
from rewake.testing.loop import VirtualLoop


class Connection(asyncio.Transport):
    """A connection to a server in this process, in virtual time."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.is_closed = False
        config = uvicorn.Config(_answer, log_config=None, lifespan="off", ws="none")
        config.load()
        self.protocol = BoundedProtocol(config=config, server_state=ServerState(), app_state={})
        self.protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    async def send(self, *parts: bytes) -> tuple[int, bool]:
        """The status of the newest answer (0: none), and whether the connection is closed."""
        for part in parts:
            self.protocol.data_received(part)
            await asyncio.sleep(0.1)
        answers = self.written.split(b"HTTP/1.1 ")
        return int(answers[-1][:3] or 0), self.is_closed


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def connected(body: Callable[[Connection], Awaitable[None]]) -> None:
    """Run `body` with a connection."""
    loop = VirtualLoop()

    async def main() -> None:
        await body(Connection())

    try:
        loop.run_until_complete(main())
        assert not loop.errors, loop.errors
    finally:
        loop.close()


HOST = b"host: x\r\n"


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /" + b"a" * (LONGEST_URL - 1) + b" HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"GET /" + b"a" * LONGEST_URL + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: y\r\n" * MOST_HEADERS + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"y" * LARGEST_HEAD + b"\r\n\r\n", 431),
    ],
)
@pytest.mark.parametrize("size", [10**9, 1_000])
def test_what_comes_before_a_body(request_: bytes, status: int, size: int) -> None:
    """An address or headers that are too large are refused with a problem, in however many parts
    they come, also before they are whole.
    """
    parts = [request_[at : at + size] for at in range(0, len(request_), size)]

    async def body(connection: Connection) -> None:
        assert await connection.send(*parts) == (status, status != 200)
        if status != 200:
            head, _, told = connection.written.partition(b"\r\n\r\n")
            assert b"application/problem+json" in head
            assert msgspec.json.decode(told)["status"] == status

    connected(body)


@pytest.mark.parametrize("begun", [b"GET / HTTP/1.1\r\nx: ", b"GET /", b"GET / HTTP/1.1\r\n"])
def test_a_head_without_an_end(begun: bytes) -> None:
    """A head that does not end is read no further than its bound."""
    more = b"x: y\r\n" if begun.endswith(b"\n") else b"abcdef"

    async def body(connection: Connection) -> None:
        status, sent = 0, 0
        await connection.send(begun)
        while not connection.is_closed:
            status, _ = await connection.send(more * 1_000)
            sent += 6_000
        assert (status, sent < LARGEST_HEAD + 12_000) == (431, True)

    connected(body)


CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"transfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize("begun", [b"3;", b"0\r\nx: ", b"0\r\n"])
def test_what_has_no_end_beside_a_body(begun: bytes) -> None:
    """What is said of a chunk, or follows the last one, is bounded as a head is: it is no body."""
    more = b"x: y\r\n" * 1_000 if begun == b"0\r\n" else b"a" * 6_000

    async def body(connection: Connection) -> None:
        await connection.send(CHUNKED, b"2\r\nab\r\n", begun)
        sent = 0
        while not connection.is_closed:
            await connection.send(more)
            sent += len(more)
        assert LARGEST_HEAD - len(more) < sent < LARGEST_HEAD + 2 * len(more)
        assert b" 200 " not in connection.written

    connected(body)


def test_chunks_may_be_many() -> None:
    """However much is said of all of them together, and in however small pieces."""

    async def body(connection: Connection) -> None:
        chunks = [b"1;a=b\r\nx\r\n" * 1_000 for _ in range(20)]
        assert await connection.send(CHUNKED, *chunks, b"0\r\nx: y\r\n", b"\r\n") == (200, False)

    connected(body)


def test_a_body_is_not_bounded_here() -> None:
    """A large body behind a small head gets through, and so does the next request."""
    post = b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 300000\r\n\r\n"

    async def body(connection: Connection) -> None:
        for _ in range(2):
            assert await connection.send(post, *[b"x" * 100_000] * 3) == (200, False)
        assert connection.written.count(b"HTTP/1.1 200") == 2

    connected(body)


@pytest.mark.parametrize(("begun", "status"), [(b"\r\n", 0), (b"GET /a HTTP/1.1\r\nhost: ", 408)])
def test_a_head_that_does_not_come(begun: bytes, status: int) -> None:
    """A connection that does not say what it wants is closed, also the second time."""
    whole = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"

    async def body(connection: Connection) -> None:
        assert await connection.send(whole) == (200, False)
        await connection.send(begun)
        for _ in range(int(HEAD_TIME)):
            await connection.send(b"x" if status else begun)
            await asyncio.sleep(1)
        assert connection.is_closed
        if status:
            assert b"HTTP/1.1 408" in connection.written

    connected(body)


def test_a_connection_on_which_nothing_comes() -> None:
    """It is closed without an answer."""

    async def body(connection: Connection) -> None:
        await asyncio.sleep(HEAD_TIME + 1)
        assert await connection.send() == (0, True)

    connected(body)


def test_an_answer_that_takes_long_is_no_head_that_does_not_come() -> None:
    """Once a request is there it may take as long as it takes."""

    async def body(connection: Connection) -> None:
        post = b"POST /a HTTP/1.1\r\n" + HOST + b"content-length: 3\r\n\r\n"
        await connection.send(post)
        await asyncio.sleep(HEAD_TIME * 3)
        assert await connection.send(b"abc") == (200, False)

    connected(body)

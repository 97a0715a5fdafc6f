"""Both kinds of client over real sockets: servers that are slow, rude, gone or behind proxies."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

from rewake import AsyncClient, Client
from rewake.client.transports import proxy_for
from rewake.errors import (
    ConfigError,
    ServerUnavailable,
    UsageError,
)
from tests.support.certificates import certificate

TOKEN = "a-token-of-this-test"
RUN = b'{"id": "r", "workflow": "main", "state": "done"}'

Serve = Callable[[socket.socket], None]
Ask = Callable[[Any], Any]


class Server:
    """Serves each connection by a function; knows what was asked, and over how many of them."""

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            self._serve(connection)

    def close(self) -> None:
        """End it, and all connections."""
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


@contextmanager
def serving(serve: Serve) -> Iterator[Server]:
    """A server for as long as the block takes."""
    server = Server(serve)
    try:
        yield server
    finally:
        server.close()


def request_of(connection: socket.socket) -> bytes:
    """One request as it came, with its body; nothing at the end."""
    found = b""
    while b"\r\n\r\n" not in found:
        part = connection.recv(65536)
        if not part:
            return b""
        found += part
    head, _, body = found.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    length = int(lengths[0].partition(b":")[2]) if lengths else 0
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


def response(body: bytes = RUN, status: str = "200 OK", *more: str) -> bytes:
    """An HTTP response."""
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *more]
    head = "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


def always(answer: bytes, seen: list[bytes] | None = None) -> Serve:
    """Serves each request of a connection with this."""

    def serve(connection: socket.socket) -> None:
        while request := request_of(connection):
            if seen is not None:
                seen.append(request)
            connection.sendall(answer)

    return serve


def by_async(ask: Ask, url: str, **how: Any) -> Any:
    async def work() -> Any:
        async with AsyncClient(url, TOKEN, **how) as client:
            return await ask(client)

    return asyncio.run(work())


def by_blocking(ask: Ask, url: str, **how: Any) -> Any:
    with Client(url, TOKEN, **how) as client:
        return ask(client)


KINDS = pytest.mark.parametrize("by", [by_async, by_blocking], ids=["async", "blocking"])


@KINDS
def test_what_is_sent(by: Any) -> None:
    """The token, JSON and the place: of both kinds the same."""
    seen: list[bytes] = []
    with serving(always(response(), seen)) as server:
        by(lambda client: client.get("a/b?c"), f"{server.url}/below")
        by(lambda client: client.cancel("r", "grüße"), server.url)
        by(lambda client: client.start("main", {"n": 1}, key="schlüssel"), server.url)
    heads = [each.partition(b"\r\n\r\n")[0].split(b"\r\n") for each in seen]
    assert heads[0][0] == b"GET /below/v1/runs/a%2Fb%3Fc HTTP/1.1"
    assert heads[1][0] == b"POST /v1/runs/r/cancel HTTP/1.1"
    for head in heads:
        assert f"Authorization: Bearer {TOKEN}".encode() in head
        assert f"Host: 127.0.0.1:{server.port}".encode() in head
        assert b"Accept: application/json" in head
    assert b"Content-Type: application/json" in heads[1]
    assert json.loads(seen[1].partition(b"\r\n\r\n")[2])["reason"] == "grüße"
    assert "Idempotency-Key: schlüssel".encode() in heads[2]


@KINDS
def test_connections_are_kept_and_given_up(by: Any) -> None:
    """Requests share a connection; one that the server has closed meanwhile loses no request."""

    def serve(connection: socket.socket) -> None:
        for _ in range(3):
            if request_of(connection):
                connection.sendall(response())
        connection.close()

    async def three(client: Any) -> None:
        for _ in range(6):
            found = client.cancel("r")  # it is not sent again where it got lost
            await found if asyncio.iscoroutine(found) else None
            await asyncio.sleep(0.02)

    with serving(serve) as server:
        if by is by_async:
            by_async(three, server.url)
        else:
            by_blocking(lambda client: asyncio.run(three(client)), server.url)
        assert server.connections == 2


def silent(connection: socket.socket) -> None:
    request_of(connection)
    time.sleep(5)


def trickling(connection: socket.socket) -> None:
    request_of(connection)
    for byte in response():
        connection.sendall(bytes([byte]))
        time.sleep(0.05)


def stopping(connection: socket.socket) -> None:
    request_of(connection)
    connection.sendall(response()[:-5])
    time.sleep(5)


def cutting_off(connection: socket.socket) -> None:
    request_of(connection)
    connection.sendall(response()[:-5])


def babbling(connection: socket.socket) -> None:
    request_of(connection)
    connection.sendall(b"hello\r\n\r\n")


def hanging_up(connection: socket.socket) -> None:
    request_of(connection)


def shut(connection: socket.socket) -> None:
    connection.close()


LATE = "longer than 0.3 seconds"


@KINDS
@pytest.mark.parametrize(
    ("serve", "told"),
    [
        (silent, LATE),
        (trickling, LATE),
        (stopping, LATE),
        (cutting_off, "there is no answer"),
        (babbling, "there is no answer"),
        (hanging_up, "there is no answer"),
        (shut, "there is no answer"),
    ],
)
def test_a_rude_server_is_an_error_in_time(by: Any, serve: Serve, told: str) -> None:
    """Whatever it does, the time-out is of the whole exchange, and the error says what it was."""
    began = time.monotonic()
    with serving(serve) as server, pytest.raises(ServerUnavailable) as caught:
        by(lambda client: client.get("r"), server.url, timeout=0.3, patience=0)
    assert time.monotonic() - began < 3
    assert told in str(caught.value)
    assert TOKEN not in str(caught.value)


@KINDS
def test_nobody_is_there(by: Any) -> None:
    """Nothing was sent, so that anything may be sent again: it is, when the server is back."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    with pytest.raises(ServerUnavailable, match="Connection refused"):
        by(lambda client: client.cancel("r"), url, patience=0)
    with pytest.raises(ServerUnavailable, match="cannot reach"):
        by(lambda client: client.get("r"), "http://no-such-host.invalid", patience=0)


@KINDS
def test_a_redirect_is_not_followed(by: Any) -> None:
    """A token goes nowhere else, and no cookie is sent back."""
    seen: list[bytes] = []
    moved = response(b"", "302 Found", "Location: http://127.0.0.1:1/", "Set-Cookie: a=b")
    with serving(always(moved, seen)) as server:
        for _ in range(2):
            with pytest.raises(ServerUnavailable, match="is not a Rewake server"):
                by(lambda client: client.get("r"), server.url)
    assert b"Cookie" not in seen[1]


@KINDS
def test_a_huge_result_is_read_whole(by: Any) -> None:
    """Also in chunks, as a proxy may send it."""
    value = "x" * 5_000_000
    body = json.dumps({"id": "r", "state": "done", "result": value}).encode()
    chunks = b"".join(
        b"%x\r\n%b\r\n" % (len(part), part)
        for part in (body[at : at + 60_000] for at in range(0, len(body), 60_000))
    )
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    for answer in (response(body), head + chunks + b"0\r\n\r\n"):
        with serving(always(answer)) as server:
            assert by(lambda client: client.result("r"), server.url) == value


@KINDS
def test_a_body_that_is_refused_before_its_end(by: Any) -> None:
    """What the server says of it counts, not that it hung up."""

    def serve(connection: socket.socket) -> None:
        connection.recv(1000)
        detail = b'{"title": "Too large", "status": 413, "detail": "at most 1 MiB"}'
        connection.sendall(response(detail, "413 Content Too Large", "Connection: close"))
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(65536):  # as a server does that wants to be heard
            pass

    with serving(serve) as server, pytest.raises(UsageError, match="at most 1 MiB"):
        by(lambda client: client.start("main", {"x": "y" * 3_000_000}), server.url, patience=0)


def test_an_answer_counts_although_the_request_broke_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that hangs up in the middle of a body has said why."""
    send = HTTPConnection.send

    def broken(self: HTTPConnection, data: bytes) -> None:
        if len(data) > 10_000:
            raise BrokenPipeError
        send(self, data)

    def serve(connection: socket.socket) -> None:
        connection.recv(65536)
        detail = b'{"title": "Too large", "status": 413}'
        connection.sendall(response(detail, "413 Content Too Large", "Connection: close"))

    monkeypatch.setattr(HTTPConnection, "send", broken)
    with serving(serve) as server, pytest.raises(UsageError, match="Too large"):
        by_blocking(lambda client: client.start("main", {"x": "y" * 20_000}), server.url)


@KINDS
def test_a_certificate_that_is_not_accepted(by: Any, tmp_path: Path) -> None:
    """It is told at once: trying again will not help."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(tmp_path / "own.pem"))

    def serve(connection: socket.socket) -> None:
        with suppress(ssl.SSLError):
            context.wrap_socket(connection, server_side=True)

    began = time.monotonic()
    with serving(serve) as server, pytest.raises(ConfigError, match="certificate") as caught:
        by(lambda client: client.get("r"), server.url.replace("http:", "https:"))
    assert time.monotonic() - began < 3
    assert f"127.0.0.1:{server.port}" in str(caught.value)


# --- proxies -------------------------------------------------------------------------------------


@KINDS
def test_a_proxy_is_not_asked_for_this_machine(by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the environment says: the server that `rewake dev` begins is reached."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("all_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(always(response())) as server:
        assert by(lambda client: client.get("r"), server.url)["id"] == "r"
        local = server.url.replace("127.0.0.1", "localhost")
        assert by(lambda client: client.get("r"), local)["id"] == "r"


@KINDS
def test_another_machine_is_reached_by_the_proxy(by: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It gets the whole address, its own name and password, and for TLS a tunnel."""
    seen: list[bytes] = []
    with serving(always(response(), seen)) as proxy:
        user = proxy.url.replace("//", "//ann:s%40cret@")
        monkeypatch.setenv("http_proxy", user)
        monkeypatch.setenv("https_proxy", user.removeprefix("http://"))
        monkeypatch.delenv("no_proxy", raising=False)
        assert by(lambda client: client.get("r"), "http://runs.example:81/x")["id"] == "r"
    with serving(always(response(b"", "407 Proxy Authentication Required"), seen)) as proxy:
        user = proxy.url.replace("//", "//ann:s%40cret@")
        monkeypatch.setenv("https_proxy", user.removeprefix("http://"))
        with pytest.raises(ServerUnavailable) as caught:
            by(lambda client: client.get("r"), "https://runs.example", patience=0)
    assert seen[0].startswith(b"GET http://runs.example:81/x/v1/runs/r HTTP/1.1\r\n")
    assert seen[1].startswith(b"CONNECT runs.example:443 HTTP/1.")
    for each in seen:
        assert b"Proxy-Authorization: Basic YW5uOnNAY3JldA==" in each
    assert TOKEN.encode() not in seen[1]
    assert not {"s%40cret", "s@cret", "YW5u"} & set(str(caught.value).split())


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("http://127.0.0.1:8000", None),
        ("http://127.9.9.9", None),
        ("http://[::1]:8000", None),
        ("http://localhost:8000", None),
        ("http://app.localhost", None),
        ("http://inside.example", None),
        ("http://deep.inside.example:81", None),
        ("http://runs.example", "http://proxy:3128"),
        ("http://127.0.0.1.example", "http://proxy:3128"),
        ("https://runs.example", "http://all:1"),
    ],
)
def test_which_proxy(url: str, found: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine and what `no_proxy` names are reached directly."""
    for name in ("https_proxy", "HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "proxy:3128")
    monkeypatch.setenv("all_proxy", "http://all:1")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert proxy_for(url) == found


@pytest.mark.parametrize("proxy", ["socks5://u:hunter2@proxy:1080", "http://", "https://proxy"])
def test_a_proxy_of_another_kind_is_refused(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named by its variable, without its password."""
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(ConfigError, match="http_proxy") as caught:
        proxy_for("http://runs.example")
    assert "hunter2" not in str(caught.value)


# --- threads and loops ---------------------------------------------------------------------------


def test_threads_share_a_client() -> None:
    """Each gets the answer to what it has asked."""

    def serve(connection: socket.socket) -> None:
        while request := request_of(connection):
            run = request.split(b" ")[1].rpartition(b"/")[2]
            connection.sendall(response(b'{"id": "' + run + b'"}'))

    with serving(serve) as server, Client(server.url, TOKEN) as client:
        with ThreadPoolExecutor(8) as pool:
            names = [f"r{number}" for number in range(200)]
            assert [found["id"] for found in pool.map(client.get, names)] == names
        assert server.connections <= 12


def test_what_another_process_or_an_idle_while_may_have_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A connection is not used by a forked child, nor when a server is about to close it."""
    with serving(always(response())) as server, Client(server.url, TOKEN) as client:
        client.get("r")
        client.get("r")
        assert server.connections == 1
        with monkeypatch.context() as patched:
            patched.setattr("rewake.client.blocking.os.getpid", lambda: -1)
            client.get("r")
        assert server.connections == 2
        client.get("r")
        connections = server.connections
        monkeypatch.setattr("rewake.client.blocking.IDLE", 0)
        client.get("r")
        assert server.connections == connections + 1


def test_a_thread_that_is_interrupted_leaves_no_half_answer_behind() -> None:
    """The next request does not read what was meant for the one before."""

    class Interrupted(BaseException):
        pass

    def serve(connection: socket.socket) -> None:
        while request := request_of(connection):
            run = request.split(b" ")[1].rpartition(b"/")[2]
            connection.sendall(response(b'{"id": "' + run + b'"}'))

    with serving(serve) as server, Client(server.url, TOKEN) as client:
        client.get("one")
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr("http.client.HTTPConnection.getresponse", _raise(Interrupted))
            with pytest.raises(Interrupted):
                client.get("two")
        assert client.get("three")["id"] == "three"


def _raise(kind: type[BaseException]) -> Any:
    def get(*_: object) -> None:
        raise kind

    return get


def test_a_client_belongs_to_one_loop_and_to_one_life() -> None:
    """In another event loop it says so, and closed it says that."""
    with serving(always(response())) as server:
        client = AsyncClient(server.url, TOKEN)

        async def get() -> Any:
            return await client.get("r")

        async def both() -> None:
            assert (await get())["id"] == "r"
            with pytest.raises(UsageError, match="one event loop"):
                await asyncio.to_thread(asyncio.run, get())
            await client.close()
            with pytest.raises(UsageError, match="closed"):
                await get()

        asyncio.run(both())
        blocking = Client(server.url, TOKEN)
        blocking.get("r")
        blocking.close()
        blocking.close()
        with pytest.raises(UsageError, match="closed"):
            blocking.get("r")


def test_a_request_that_is_cancelled_ends_at_once() -> None:
    """Its connection is given up, and the client goes on."""

    def serve(connection: socket.socket) -> None:
        if b"/slow" in request_of(connection):
            time.sleep(5)
        connection.sendall(response())

    async def work(url: str) -> None:
        async with AsyncClient(url, TOKEN) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.get("slow")
            assert (await client.get("r"))["id"] == "r"

    with serving(serve) as server:
        asyncio.run(work(server.url))

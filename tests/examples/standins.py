"""Services of others, as local stand-ins: they keep what they are sent, and fail when told to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

from aiosmtpd.controller import Controller

Answer = tuple[int, dict[str, Any]]


class Service:
    """An HTTP API. `answer` takes the method, the path and the data of each request.

    Of `troubles` each is taken once, by the next request: a status that is answered instead of
    doing anything, or `"lost"`: it is done, and the connection is closed without an answer.
    """

    def __init__(self, answer: Callable[[str, str, dict[str, Any]], Answer]) -> None:
        self.answer = answer
        self.seen: list[tuple[str, str, dict[str, Any]]] = []
        self.troubles: list[int | str] = []
        self.url = ""

    @contextmanager
    def serving(self) -> Iterator[Service]:
        """It, while it serves."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                is_json = "json" in self.headers.get("Content-Type", "")
                data = json.loads(body) if is_json else dict(parse_qsl(body.decode()))
                trouble = service.troubles.pop(0) if service.troubles else None
                if isinstance(trouble, int):
                    self._reply(trouble, {})
                    return
                service.seen.append((self.command, self.path, data))
                answer = service.answer(self.command, self.path, data)
                if trouble is None:
                    self._reply(*answer)

            do_PUT = do_POST  # noqa: N815

            def _reply(self, status: int, answer: dict[str, Any]) -> None:
                body = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Retry-After", "7")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler


class Mailbox:
    """What a mail server was sent: `messages`. So many `doubts` are taken, and told as failed."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.doubts = 0

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802
        """Keep a message."""
        self.messages.append((envelope.rcpt_tos[0], envelope.content))
        if self.doubts:
            self.doubts -= 1
            return "451 try later"
        return "250 OK"


@contextmanager
def mail_server() -> Iterator[tuple[Mailbox, str]]:
    """A mail server, and its address."""
    mailbox = Mailbox()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    controller = Controller(mailbox, hostname="127.0.0.1", port=port)
    controller.start()
    try:
        yield mailbox, f"127.0.0.1:{port}"
    finally:
        controller.stop()

"""A few pages to report on, served from this machine; each takes its time to answer."""

from __future__ import annotations

import socketserver
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

TOPICS = (
    "Apples & pears",
    "Bread",
    "Cheese",
    "Dates",
    "Eggplant",
    "Figs",
    "Ginger",
    "Honey",
    "Ice cream",
    "Jam",
    "Kale",
    "Lentils",
)
FLAKY = 9
"""The page that answers 503 when it is asked for the first time."""


class Pages:
    """Serves the pages on a free port of 127.0.0.1 while the block is entered.

    `urls` is where they are; `seconds` is what each takes, roughly.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.requests = Counter[str]()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        host = f"http://127.0.0.1:{self._server.server_address[1]}"
        self.urls = [f"{host}/{number}" for number in range(len(TOPICS))]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(
        self,
        request: object,
        client_address: object,
    ) -> None:
        """Whoever asked was killed meanwhile: that is what the demo is about."""


def _handler(pages: Pages) -> type[socketserver.BaseRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            number = int(self.path.strip("/"))
            pages.requests[self.path] += 1
            first = pages.requests[self.path] == 1
            time.sleep(pages.seconds * (0.7 + number * 5 % 7 / 10))
            body = _page(number).encode()
            self.send_response(503 if number == FLAKY and first else 200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def _page(number: int) -> str:
    title = TOPICS[number].replace("&", "&amp;")
    links = "".join(f'<li><a href="/{other}">{other}</a></li>' for other in range(number + 1))
    return f"<!doctype html><title>{title}</title><h1>{title}</h1><ul>{links}</ul>"

"""HTTP of uvicorn, with bounds on what comes before a body: its size, and how long it may take.

Without them a stranger who sends a header that never ends fills the memory, and one who sends
nothing holds a connection for ever. (What may be in a body is bounded in `rewake.http.bodies`.)
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from rewake.http.problems import BLANK, MEDIA_TYPE, Problem

LONGEST_URL = 16 * 1024
"""Bytes of an address."""
LARGEST_HEAD = 64 * 1024
"""Bytes of an address and all headers, or of what comes beside a body: behind it, in its chunks."""
MOST_HEADERS = 200
HEAD_TIME = 20.0
"""Seconds in which a connection must have said what it wants."""


class BoundedProtocol(HttpToolsProtocol):
    """One connection. What is over a bound is refused, and the connection closed."""

    def __init__(self, *args: Any, **named: Any) -> None:
        super().__init__(*args, **named)
        self._in_head = True
        self._size = 0
        self._beside = 0
        self._patience: asyncio.TimerHandle | None = None
        self._is_refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        if self._in_head:
            self._size += len(data)  # but for what came together with its beginning
        self._beside += len(data)
        super().data_received(data)
        # One header may be longer than all that was read of it so far.
        if (self._in_head and self._size > LARGEST_HEAD) or self._beside > LARGEST_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif not self._is_busy() and self.timeout_keep_alive_task is None:
            self._wait()  # what came begins nothing: it was an empty line

    def on_message_begin(self) -> None:
        self._in_head = True
        self._size = 0
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._beside = 0
        self._stop_waiting()
        if len(self.url) > LONGEST_URL:
            self._refuse(HTTPStatus.REQUEST_URI_TOO_LONG)
            return
        size = sum(len(name) + len(value) for name, value in self.headers)
        if size + len(self.url) > LARGEST_HEAD or len(self.headers) > MOST_HEADERS:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
            return
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._beside = 0
        if not self._is_refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._beside = 0
        if not self._is_refused:
            super().on_message_complete()

    def _is_busy(self) -> bool:
        """Whether an answer is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(HEAD_TIME, self._late)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _late(self) -> None:
        self._patience = None
        if self._in_head and self._size:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        elif not self.transport.is_closing():
            self.transport.close()

    def _refuse(self, status: HTTPStatus) -> None:
        """Answer and close the connection."""
        if self._is_refused or self.transport.is_closing():
            return
        self._is_refused = True
        if self._is_busy():
            self.transport.close()  # an answer is under way, which no other may come into
            return
        body = msgspec.json.encode(Problem(status.phrase, status, BLANK))
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\n"
            f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            "cache-control: no-store\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

"""HTTP/1.1 as a server reads it: within bounds, also before a request is known.

A body is bounded by whoever reads it. What is no body is read by uvicorn's parser, which takes any
amount: the head of a request, what follows a body, the extensions of its chunks. It adds each piece
to what it has, so one stranger with a head of 50 MB holds up the event loop for many seconds; and
one that never ends its head keeps a connection for ever. So what comes without any of it becoming a
part of a request is counted, and a head has its time.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

LARGEST_HEAD = 64 * 1024
"""Bytes that may come without a head, a part of a body or a request being complete.

What comes at once with the end of a head is not counted, so that a head may be a little larger.
"""
HEAD_TIME = 30.0
"""Seconds in which a head must have come, once one is waited for."""

log = logging.getLogger("rewake.http")

_TOLD = b'{"title":"Request Header Fields Too Large","status":431}'
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"content-type: application/problem+json\r\n"
    b"content-length: %d\r\n"
    b"connection: close\r\n\r\n%s"
) % (len(_TOLD), _TOLD)


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's protocol, within bounds."""

    _besides = 0
    _moved = False
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Wait for a head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, and end the connection if it was too much of nothing."""
        self._moved = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._besides = 0 if self._moved else self._besides + len(data)
        if self._besides > LARGEST_HEAD:
            self._refuse()
        elif self._is_idle():
            self._await_head()

    def on_headers_complete(self) -> None:
        """Note that a head has come."""
        self._moved = True
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Note that a part of a body has come."""
        self._moved = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that a request has come."""
        self._moved = True
        super().on_message_complete()

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is None or cycle.response_complete

    def _await_head(self) -> None:
        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_TIME, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self) -> None:
        log.warning("a request was cut off: %d bytes came that are no body of it", self._besides)
        if self._is_idle():
            self.transport.write(_TOO_LARGE)
        self.transport.close()

"""The transport of `Client`: the standard library's HTTP, over connections that are kept.

A time-out is of the whole exchange, as that of the other transport is: before each read of the
socket what is left of it is set. A connection that the server has closed meanwhile is noticed
before it is used again, so that a request is not lost to it.
"""

from __future__ import annotations

import base64
import functools
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from rewake.client.answers import Answer, Lost
from rewake.client.asking import Ask
from rewake.client.transports import IDLE, distrusted, proxy_for, reason_of
from rewake.errors import UsageError

_KEPT = 10
"""How many idle connections are kept."""


class BlockingTransport:
    """Sends by `http.client`; any number of threads may share it."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._lock = threading.Lock()
        self._idle: list[_Connection] = []
        self._process = os.getpid()
        self._closed = False

    def send(self, ask: Ask, address: str, headers: Mapping[str, str]) -> Answer | Lost:
        """Send it, and read the answer whole."""
        parts = urlsplit(address)
        deadline = time.monotonic() + self._timeout + ask.wait
        connection = self._taken(parts, address)
        try:
            connection.open(deadline)
        except (OSError, HTTPException) as error:
            connection.close()
            if isinstance(error, ssl.SSLCertVerificationError):
                raise distrusted(parts.netloc, error) from None
            return Lost(reason_of(error), sent=False)
        try:
            answer = connection.exchange(ask, parts, headers, deadline)
        except TimeoutError:
            connection.close()
            return Lost(f"it takes longer than {self._timeout + ask.wait:g} seconds")
        except (OSError, HTTPException) as error:
            connection.close()
            return Lost(reason_of(error))
        except BaseException:  # a thread that is interrupted leaves half an answer behind
            connection.close()
            raise
        self._give_back(connection)
        return answer

    def close(self) -> None:
        """Close the connections; nothing can be sent any more."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for each in idle:
            each.close()

    def _taken(self, parts: SplitResult, address: str) -> _Connection:
        """An idle connection that still stands, or a new one."""
        proxy = proxy_for(address)
        place = (parts.scheme, parts.netloc, proxy)
        while True:
            with self._lock:
                if self._closed:
                    raise UsageError("this client is closed")
                if self._process != os.getpid():  # they are the parent's; its ends stay open
                    for each in self._idle:
                        each.close()
                    self._process, self._idle = os.getpid(), []
                found = next((each for each in self._idle if each.place == place), None)
                if found is None:
                    return _Connection(place, parts, proxy)
                self._idle.remove(found)
            if found.stands():
                return found
            found.close()

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if connection.stands() and not self._closed and len(self._idle) < _KEPT:
                self._idle.append(connection)
                return
        connection.close()


class _Connection:
    """A connection to a server, perhaps by way of a proxy."""

    def __init__(self, place: tuple[Any, ...], parts: SplitResult, proxy: str | None) -> None:
        self.place = place
        self._used = 0.0
        self._absolute = proxy is not None and parts.scheme == "http"
        self._headers: dict[str, str] = {}
        secure = parts.scheme == "https"
        kind = HTTPSConnection if secure else HTTPConnection
        if proxy is None:
            self._http = kind(parts.hostname or "", parts.port)
            return
        by = urlsplit(proxy)
        self._http = kind(by.hostname or "", by.port or 80)
        known = _authorization(by)
        if secure:
            self._http.set_tunnel(parts.hostname or "", parts.port or 443, known)
        else:
            self._headers = known

    def stands(self) -> bool:
        """Whether the server has not closed it, and will not do so now, as far as is known."""
        sock = self._http.sock
        if sock is None or time.monotonic() - self._used > IDLE:
            return False
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return not poll.poll(0)

    def open(self, deadline: float) -> None:
        """Connect, unless it is connected. Raises `OSError`."""
        self._http.timeout = _left(deadline)
        if self._http.sock is None:
            self._http.connect()

    def exchange(
        self, ask: Ask, parts: SplitResult, headers: Mapping[str, str], deadline: float
    ) -> Answer:
        """Send the request, read the answer. Raises `OSError`, `HTTPException`."""
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        if self._absolute:
            target = f"{parts.scheme}://{parts.netloc}{target}"
        self._http.sock.settimeout(_left(deadline))
        self._http.response_class = functools.partial(_Response, deadline)  # type: ignore[assignment]
        told = {"Host": parts.netloc, **headers, **self._headers}
        sent = {name: text.encode() for name, text in told.items()}  # else it would be Latin-1
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before the end
            self._http.request(ask.method, target or "/", body=ask.body, headers=sent)
        with self._http.getresponse() as response:
            body = response.read()
            self._used = time.monotonic()
            kept = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, kept, body)

    def close(self) -> None:
        """Close it."""
        self._http.close()


class _Response(HTTPResponse):
    """A response that is read until a deadline."""

    def __init__(self, deadline: float, sock: socket.socket, *args: Any, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock, deadline))


class _Timed(io.RawIOBase):
    """Reads a socket, which waits no longer than until a deadline."""

    def __init__(self, sock: socket.socket, deadline: float) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)  # it keeps the socket open until it is read
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._deadline))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _authorization(proxy: SplitResult) -> dict[str, str]:
    """The header by which a proxy knows its user, if it has one."""
    if proxy.username is None:
        return {}
    known = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"}

"""A small load balancer: each request goes to the next server that takes the connection."""

from __future__ import annotations

import asyncio
import itertools
import re
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self

_LENGTH = re.compile(rb"^content-length: *(\d+)", re.IGNORECASE | re.MULTILINE)
_CONNECTION = re.compile(rb"^connection:[^\r\n]*\r\n", re.IGNORECASE | re.MULTILINE)


class RoundRobin:
    """Balances over `ports` of 127.0.0.1, which may change at any time; `url` is its own address.

    A connection carries one request, so that all requests are balanced. `passed` counts those
    that each port answered.
    """

    def __init__(self) -> None:
        self.ports: list[int] = []
        self.passed: dict[int, int] = {}
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._open: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._accept, "127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _end(self) -> None:
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._carry(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(head)
            body = await reader.readexactly(int(length[1])) if length else b""
            head = _CONNECTION.sub(b"", head)[:-2] + b"Connection: close\r\n\r\n"
            writer.write(await self._ask(head + body))
            await writer.drain()
        except (OSError, EOFError):
            pass  # whoever asked sees a closed connection, as it would of any balancer
        finally:
            writer.close()

    async def _ask(self, request: bytes) -> bytes:
        first = next(self._turn) % (len(self.ports) or 1)  # none may be ready yet
        for port in self.ports[first:] + self.ports[:first]:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                continue
            try:
                writer.write(request)
                response = await reader.read()
            finally:
                writer.close()
            if response:
                self.passed[port] = self.passed.get(port, 0) + 1
            return response
        return b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

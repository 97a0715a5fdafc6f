"""What a PostgreSQL table does when whatever stands before its server falls silent."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from rewake.errors import StoreUnavailable
from rewake.stores.postgres import connecting, notices, opening
from tests.stores.test_postgres import HEADER, H, address
from tests.support.postgres import cluster, needs_postgres, rest_of

__all__ = ["address"]
pytestmark = needs_postgres


class Proxy:
    """Stands before a server, and may fall silent: it takes everything, and answers nothing.

    It breaks as many connections as it is told to (`cuts`), each instead of an answer.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.made: asyncio.Queue[None] = asyncio.Queue()
        self.silent = asyncio.Event()
        self.cuts = 0
        self._writers: list[asyncio.StreamWriter] = []

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """The port where it listens."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for each in self._writers:
                each.close()
            await asyncio.gather(
                *(each.wait_closed() for each in self._writers), return_exceptions=True
            )

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.made.put_nowait(None)
        self._writers.append(writer)
        if self.silent.is_set():  # a cancellation, or another try
            await reader.read()
            return
        back, forth = await asyncio.open_connection("127.0.0.1", self._port)
        self._writers.append(forth)
        await asyncio.gather(self._pass(reader, forth), self._pass(back, writer, cuts=True))

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, cuts: bool = False
    ) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if cuts and self.cuts:
                    self.cuts -= 1
                    break
                if not self.silent.is_set():
                    writer.write(data)
            writer.close()


def through(address: str, port: int) -> str:
    """The same schema, by a proxy at this port."""
    return address.replace(f":{cluster().port}/", f":{port}/")


def test_a_proxy_that_falls_silent_is_given_up(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even a cancellation is answered then, and no TCP probe fails: reads and writes end."""
    monkeypatch.setattr(connecting, "PATIENCE", 0.2)

    async def main() -> None:
        proxy = Proxy(cluster().port)
        async with proxy.listening() as port:
            made = await asyncio.to_thread(opening.open_table, rest_of(through(address, port)))
            await made.put(H, HEADER)
            assert await made.get(H) == HEADER
            proxy.silent.set()
            async with asyncio.timeout(5):
                for call in (made.get(H), made.put(H, HEADER)):
                    with pytest.raises(StoreUnavailable, match="does not answer"):
                        await call
            await made.close()

    asyncio.run(main())


def test_a_connection_that_breaks_costs_no_read(address: str) -> None:
    """It is read by another; of a write that was lost nobody knows, and whoever asked is told."""

    async def main() -> None:
        proxy = Proxy(cluster().port)
        async with proxy.listening() as port:
            made = await asyncio.to_thread(opening.open_table, rest_of(through(address, port)))
            await made.put(H, HEADER)
            assert await made.get(H) == HEADER
            proxy.cuts = 1
            assert await made.get(H) == HEADER
            proxy.cuts = 1
            with pytest.raises(StoreUnavailable):
                await made.update(H, add={"arrivals": 1})
            assert (await made.get(H)).arrivals == 1
            await made.close()

    asyncio.run(main())


def test_a_connection_that_nobody_hears_on_is_replaced(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that falls silent loses notices, and no error tells: so the server is asked."""
    for name, seconds in {"_QUIET": 0.1, "_FIRST_WAIT": 0.1}.items():
        monkeypatch.setattr(notices, name, seconds)
    monkeypatch.setattr(connecting, "PATIENCE", 0.2)
    monkeypatch.setattr(connecting, "_GRACE", 0.2)

    async def main() -> None:
        proxy = Proxy(cluster().port)
        async with proxy.listening() as port:
            made = await asyncio.to_thread(opening.open_table, rest_of(through(address, port)))
            heard = asyncio.Event()
            listening = asyncio.ensure_future(made.listen(heard.set))
            async with asyncio.timeout(10):
                await heard.wait()
                heard.clear()
                await asyncio.sleep(0.3)
                assert proxy.made.qsize() == 2
                assert not heard.is_set()  # it was asked, and not lost by that
                proxy.silent.set()
                for _ in range(4):  # then a cancellation, and another try
                    await proxy.made.get()
                proxy.silent.clear()
                await heard.wait()
            listening.cancel()
            await asyncio.wait([listening])
            await made.close()

    asyncio.run(main())

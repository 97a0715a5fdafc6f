"""A sender of webhooks in a process of its own: signs each delivery, and notes how it is answered.

`python -m tests.bench.sender URL SECRET SECONDS CONNECTIONS FIRST` prints what it saw as JSON. A
delivery whose answer was lost is sent again until it has one, as providers do; one that was refused
is counted, and the next one is sent.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time
from collections import Counter
from collections.abc import Iterator

import aiohttp
import msgspec

from tests.bench.hooked import PATH, SCHEME

_PATIENCE = 30.0
"""Seconds for which a delivery is sent again after the end."""


class Seen(msgspec.Struct):
    """What a sender saw. `accepted`: the run of each delivery that was answered with a 202.

    `latencies` are theirs, in ms; `told`: how many refusals said when to come again; `health`: how
    long each look at the server's health took, in ms, and `unhealthy`, how many found none.
    """

    accepted: dict[int, str] = {}
    latencies: list[float] = []
    statuses: dict[int, int] = {}
    told: int = 0
    lost: int = 0
    health: list[float] = []
    unhealthy: int = 0
    began: float = 0.0


class _Sender:
    def __init__(self, url: str, secret: bytes, seconds: float) -> None:
        self._url = url
        self._secret = secret
        self._end = time.monotonic() + seconds
        self._statuses: Counter[int] = Counter()
        self.seen = Seen(began=time.time())

    async def send(self, session: aiohttp.ClientSession, numbers: Iterator[int]) -> None:
        while time.monotonic() < self._end:
            await self._deliver(session, next(numbers))
        self.seen.statuses = dict(self._statuses)

    async def _deliver(self, session: aiohttp.ClientSession, number: int) -> None:
        body = msgspec.json.encode({"number": number})
        headers = SCHEME.sign(body, self._secret, 0) | {"X-Delivery": str(number)}
        headers["Content-Type"] = "application/json"
        began = time.perf_counter()
        while time.monotonic() < self._end + _PATIENCE:
            try:
                where = f"{self._url}/hooks/{PATH}"
                async with session.post(where, data=body, headers=headers) as response:
                    answer = await response.json(content_type=None)
            except (aiohttp.ClientError, ConnectionError):
                self.seen.lost += 1
                await asyncio.sleep(0.05)
                continue
            self._statuses[response.status] += 1
            if response.status == 202:
                self.seen.accepted[number] = answer["id"]
                self.seen.latencies.append((time.perf_counter() - began) * 1000)
            else:
                self.seen.told += "Retry-After" in response.headers
                await asyncio.sleep(0.05)
            return

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Look at the server's health ten times a second."""
        while time.monotonic() < self._end:
            began = time.perf_counter()
            try:
                async with session.get(f"{self._url}/healthz") as response:
                    self.seen.unhealthy += response.status != 200
                self.seen.health.append((time.perf_counter() - began) * 1000)
            except (aiohttp.ClientError, ConnectionError):
                self.seen.unhealthy += 1
            await asyncio.sleep(0.1)


async def main(url: str, secret: bytes, seconds: float, connections: int, first: int) -> Seen:
    """Send over so many connections for so many seconds."""
    sender, numbers = _Sender(url, secret, seconds), itertools.count(first)
    room = aiohttp.TCPConnector(limit=connections + 1)
    async with aiohttp.ClientSession(connector=room) as session:
        senders = [sender.send(session, numbers) for _ in range(connections)]
        await asyncio.gather(*senders, sender.look(session))
    return sender.seen


if __name__ == "__main__":
    _, url, secret, seconds, connections, first = sys.argv
    found = asyncio.run(main(url, secret.encode(), float(seconds), int(connections), int(first)))
    sys.stdout.buffer.write(msgspec.json.encode(found))

"""Load: what a server takes from senders of webhooks, what it does beyond that, and a `kill -9`.

The senders are a process of their own. Whatever they are told, what is right is looked up in the
database at the end: each delivery that was answered with a 202 has one run, which has ended well.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aiohttp
import msgspec

from rewake.hosts.databases import Address, open_existing
from rewake.records import Header
from rewake.states import RunState
from rewake.stores.reads import Reads
from tests.bench import children, machine, stores
from tests.bench.measure import Goal, Row, percentile
from tests.bench.sender import Seen
from tests.bench.workloads import Sizes, Workload

_CALM, _FLOOD = 16, 256
"""Connections: as many as keep a server busy, and far more."""
_BACKLOG = 100
"""So small that a flood is beyond it on any machine."""
_PATIENCE = 60.0


def workloads(sizes: Sizes) -> Iterator[Workload]:
    """The measurements of load, of so many seconds each."""

    async def sustained() -> tuple[float, ...]:
        return await _sustained(sizes.load)

    async def beyond() -> tuple[float, ...]:
        return await _beyond(sizes.load)

    async def killed() -> tuple[float, ...]:
        return await _killed(sizes.load)

    once = "accepted deliveries that did not run exactly once"
    yield Workload(
        sustained,
        (
            _row(f"webhook to ended run, sustained over {_CALM} connections", "/s"),
            _row("webhook to 202, p50", "ms"),
            _row("webhook to 202, p99", "ms"),
            _row(once, "", 0),
        ),
    )
    yield Workload(
        beyond,
        (
            _row(f"flood over {_FLOOD} connections, accepted", "/s"),
            _row("flood, refused with a 503 and Retry-After", "%"),
            _row("flood, other answers", "", 0),
            _row("flood, looks at health that found none", "", 0),
            _row("flood, health p99", "ms"),
            _row(f"flood, {once}", "", 0),
        ),
    )
    yield Workload(
        killed,
        (
            _row("kill -9 in the middle, accepted", "/s"),
            _row(f"kill -9, {once}", "", 0),
        ),
    )


def _row(name: str, unit: str, limit: float | None = None) -> Row:
    return Row("load", name, unit, None if limit is None else Goal(limit))


async def _sustained(seconds: float) -> tuple[float, ...]:
    async with _Served.serving() as server:
        began = time.monotonic()
        seen = await server.flooded(seconds, _CALM)
        headers = await server.ended()
        took = time.monotonic() - began
    fast = percentile(seen.latencies, 50), percentile(seen.latencies, 99)
    return len(seen.accepted) / took, *fast, _wrong(seen, headers)


async def _beyond(seconds: float) -> tuple[float, ...]:
    async with _Served.serving(REWAKE_BACKLOG=str(_BACKLOG)) as server:
        seen = await server.flooded(seconds, _FLOOD)
        headers = await server.ended()
    whole = sum(seen.statuses.values())
    other = whole - seen.statuses.get(202, 0) - seen.told
    return (
        len(seen.accepted) / seconds,
        100 * seen.told / max(1, whole),
        other + seen.lost,
        seen.unhealthy,
        percentile(seen.health, 99),
        _wrong(seen, headers),
    )


async def _killed(seconds: float) -> tuple[float, ...]:
    async with _Served.serving() as server:
        sending = asyncio.ensure_future(server.flooded(seconds, _CALM))
        await asyncio.sleep(seconds / 2)
        await server.kill()
        seen = await sending
        headers = await server.ended()
    return len(seen.accepted) / seconds, _wrong(seen, headers)


def _wrong(seen: Seen, headers: list[Header]) -> int:
    """How many deliveries that were accepted do not have one run, which has ended well."""
    ran = Counter(each.key for each in headers)
    done = {each.run for each in headers if each.state is RunState.DONE}
    once = {number for number, run in seen.accepted.items() if run in done}
    twice = sum(number > 1 for number in ran.values())
    return len(seen.accepted) - len(once) + twice


class _Served:
    """A server of the hooked app, in a process of its own."""

    def __init__(self, address: Address, settings: dict[str, str]) -> None:
        port = children.free_port()
        self._secret = secrets.token_hex(16)
        self._address = address
        self._url = f"http://127.0.0.1:{port}"
        self._settings = {
            "REWAKE_DB": address.db,
            "REWAKE_BLOBS": address.blobs,
            "REWAKE_PORT": str(port),
            "REWAKE_SECRET": secrets.token_hex(32),
            "REWAKE_LOG_LEVEL": "error",
            "LOAD_SECRET": self._secret,
            **settings,
        }
        self._process = self._begun()

    @classmethod
    @asynccontextmanager
    async def serving(cls, **settings: str) -> AsyncIterator[_Served]:
        """A server on a database of its own, until the end of the block."""
        with stores.new() as address:
            server = cls(address, settings)
            try:
                await server.answers()
                yield server
            finally:
                server._process.terminate()
                server._process.wait(20)

    def _begun(self) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rewake", "serve", "tests.bench.hooked"]
        env = children.environment(**self._settings)
        return subprocess.Popen(command, cwd=machine.ROOT, env=env)

    async def answers(self) -> None:
        async with aiohttp.ClientSession() as session:
            await children.answering(session, f"{self._url}/readyz")

    async def flooded(self, seconds: float, connections: int) -> Seen:
        """What senders see that send for so many seconds."""
        given = (self._url, self._secret, seconds, connections, 1)
        command = children.module("sender", *given)
        told = await asyncio.to_thread(children.output, command, seconds=seconds + _PATIENCE)
        return msgspec.json.decode(told, type=Seen)

    async def kill(self) -> None:
        """Kill the server, and begin it anew."""
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait(20)
        self._process = self._begun()
        await self.answers()

    async def ended(self) -> list[Header]:
        """All runs, once none goes on."""
        reads = Reads(*open_existing(self._address))
        try:
            async with asyncio.timeout(_PATIENCE):
                while True:
                    found = await _runs(reads)
                    if all(each.state is RunState.DONE for each in found):
                        return found
                    await asyncio.sleep(0.1)
        finally:
            await reads.close()


async def _runs(reads: Reads) -> list[Header]:
    found: list[Header] = []
    cursor: str | None = None
    while True:
        page = await reads.views(limit=1_000, cursor=cursor)
        for _, view in page.items:
            header = await reads.find(view.run)
            if header is not None:
                found.append(header)
        cursor = page.cursor
        if cursor is None:
            return found

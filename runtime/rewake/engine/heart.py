"""Leases are renewed from a thread of their own, so that code that hogs the event loop keeps them.

Safety never comes from here: a holder that lost its lease is fenced by the epoch. A heartbeat only
keeps others from starting the same work.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from rewake.engine.clock import Clock
from rewake.records import Millis

log = logging.getLogger("rewake.heart")

Renew = Callable[[], Awaitable[bool]]
Lost = Callable[[], None]


class _Lease:
    __slots__ = ("lost", "renew", "since")

    def __init__(self, since: Millis, renew: Renew, lost: Lost) -> None:
        self.since = since
        self.renew = renew
        self.lost = lost


class Heart:
    """Renews what is held, each third of a lease. `threaded=False` beats in the caller's loop."""

    def __init__(self, clock: Clock, lease: Millis, *, threaded: bool = True) -> None:
        self._clock = clock
        self._interval = max(1, lease // 3)
        self._threaded = threaded
        self._held: dict[object, _Lease] = {}
        self._home: asyncio.AbstractEventLoop | None = None
        self._away: asyncio.AbstractEventLoop | None = None
        self._beating: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()

    def open(self) -> None:
        """Begin to beat."""
        self._home = asyncio.get_running_loop()
        if self._threaded:
            self._thread = threading.Thread(target=self._run, name="rewake-heart", daemon=True)
            self._thread.start()
            self._up.wait()  # until there is something that `close` can cancel
        else:
            self._beating = asyncio.ensure_future(self._beat())

    @contextmanager
    def holding(self, renew: Renew, lost: Lost) -> Iterator[None]:
        """Keep a lease while the block runs; if it is lost, call `lost` in the opener's loop."""
        token = object()
        self._held[token] = _Lease(self._clock.now(), renew, lost)
        try:
            yield
        finally:
            self._held.pop(token, None)

    async def close(self) -> None:
        """Stop. What is still held runs out by itself."""
        if self._beating is not None:
            away = self._away
            if away is not None:
                away.call_soon_threadsafe(self._beating.cancel)
            else:
                self._beating.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        async def beat() -> None:
            self._away = asyncio.get_running_loop()
            self._beating = asyncio.ensure_future(self._beat())
            self._up.set()
            await asyncio.wait([self._beating])

        asyncio.run(beat())

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            old = self._clock.now() - self._interval
            for token, lease in list(self._held.items()):
                if lease.since <= old:
                    await self._renew(token, lease)

    async def _renew(self, token: object, lease: _Lease) -> None:
        lease.since = self._clock.now()
        try:
            kept = await lease.renew()
        except Exception:  # whatever it is, the other leases must go on
            log.warning("a lease could not be renewed", exc_info=True)
            return
        if not kept and self._held.pop(token, None) is not None:
            assert self._home is not None
            if self._threaded:
                self._home.call_soon_threadsafe(lease.lost)
            else:
                lease.lost()

"""Counts how often the pages of approvals are looked at, with hardly a write.

A look writes nothing. It is noted here, and what was noted is added to one counter of the approval
once a minute at most, however many looks there were: a scanner that asks twenty times costs one
write, and mostly none of its own. What a process that dies had noted is lost, and so are looks at
more pages in a minute than `MOST`.
"""

from __future__ import annotations

import asyncio
import logging

from rewake.clock import Clock
from rewake.ledger import Seen
from rewake.records import Millis
from rewake.stores.seen import SeenPages

log = logging.getLogger("rewake.http")

EVERY: Millis = 60_000
"""So seldom it is written what was noted."""
MOST = 1_000
"""The most pages of which looks are noted at once."""
_PATIENCE = 1.0


class ViewCounter:
    """Notes looks, and writes them down now and then."""

    def __init__(self, pages: SeenPages, clock: Clock) -> None:
        self._pages = pages
        self._clock = clock
        self._noted: dict[tuple[str, str], Seen] = {}
        self._writer: asyncio.Task[None] | None = None

    def note(self, run: str, key: str) -> None:
        """Note that the page of an approval was looked at."""
        now, place = self._clock.now(), (run, key)
        if place not in self._noted and len(self._noted) >= MOST:
            return
        seen = self._noted.setdefault(place, Seen(now))
        seen.last, seen.times = now, seen.times + 1
        if self._writer is None:
            self._writer = asyncio.ensure_future(self._write_later())

    async def _write_later(self) -> None:
        await self._clock.sleep(EVERY)
        self._writer = None  # what is noted from here on is of the next minute
        await self._write()

    async def _write(self) -> None:
        noted, self._noted = self._noted, {}
        for (run, key), seen in noted.items():
            try:
                await self._pages.add(run, key, seen)
            except Exception as error:  # of any kind: nothing depends on it
                log.warning("that a page was looked at could not be counted: %s", error)

    async def rest(self) -> None:
        """Write what is noted now: the process may stand still before the minute is over."""
        if self._noted:
            await asyncio.wait({asyncio.ensure_future(self._write())}, timeout=_PATIENCE)

    async def close(self) -> None:
        """Write what is noted."""
        if self._writer is not None:
            self._writer.cancel()
        await self.rest()

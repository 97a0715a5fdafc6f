"""A watch on the clock: what was written before it was set back is set right.

It looks through the due index for what is ahead of the clock (`stores/set_back.py`) when one sweep
finds the clock behind that of the one before, and again a lease later: a write under way may carry
the old time, and the index may be late. A new process looks once, a lease after its beginning,
since the clock may have been set back before. A look is in pages, a few with each sweep, and reads
each item that is not due yet once.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

from rewake.engine.services import Services
from rewake.engine.sweeping.looks import PAGE, look_at_each
from rewake.ledger import Schedule
from rewake.records import LATEST, Millis
from rewake.stores.keys import is_schedule
from rewake.stores.table import Due, Key

log = logging.getLogger("rewake.sweeper")

PAGES = 10
"""The most pages that are looked through with one sweep."""


class ClockWatch:
    """Notices that the clock was set back, and sets right what is ahead of it."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self._looked: Millis = 0
        self._sweeps = services.settings.lease // services.settings.sweep + 1
        """How many sweeps a lease takes."""
        self._times, self._pause = 1, self._sweeps
        self._tags, self._last = list[str](), Due(0, Key("", ""))

    async def look(self, only: Collection[str] | None) -> None:
        """Look at the clock and, if that is to be done, at the next pages of the due index.

        With `only`, at nothing but those runs.
        """
        now, settings = self._services.clock.now(), self._services.settings
        before, self._looked = self._looked, now
        if before - now > settings.skew:
            told = "the clock was set back by %.1f s; what waits is set right"
            log.warning(told, (before - now) / 1000)
            self._times, self._pause, self._tags = 2, 0, []
        if not self._times:
            return
        if self._pause:
            self._pause -= 1
            return
        # What is due by now is looked at by the sweep itself.
        first = Due(now, Key("", ""))
        if not self._tags:
            # Of all tags: who asks for a task need not serve it, and only its clock was wrong.
            self._tags, self._last = self._services.tags.known, first
        for _ in range(PAGES):
            found = await self._store.due(
                LATEST, limit=PAGE, tag=self._tags[0], runs=only, after=self._last
            )
            await look_at_each(found, self._look_at)
            if len(found) == PAGE:
                self._last = found[-1]
                continue
            self._tags, self._last = self._tags[1:], first
            if not self._tags:
                self._times -= 1
                self._pause = self._sweeps
                return

    async def _look_at(self, key: Key) -> None:
        if is_schedule(key):  # its times are times of day, and stay
            return
        item = await self._store.item(key)
        if item is not None and item.due is not None and not isinstance(item, Schedule):
            await self._store.set_right(item)

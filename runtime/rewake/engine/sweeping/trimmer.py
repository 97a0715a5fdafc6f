"""Removes what is kept for a while only and is over its bounds, a little with each sweep.

It is looked for once an hour, and after so many entries as this process has written (`MANY`), so
that an idle process costs nothing; as long as something is found, with every sweep. The bounds may
be passed by what all processes write in between.

Where a process stands still between requests, sweeps are a minute apart, others do the writing, and
it may not live for an hour: the first sweep looks, and each removes what it can in `PAUSING`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.records import Millis
from rewake.stores.beside import Beside

log = logging.getLogger("rewake.sweeper")

EVERY: Millis = 3_600_000
MANY = 500
FEW = 200
"""The most items of each series that are removed with one sweep."""
PAUSING = 10.0
"""Seconds for which a sweep of a process that stands still goes on removing."""


class Trimmer:
    """Keeps what only grows within its bounds. All processes of a store may do so at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._kept: Sequence[Beside] = (services.store.audit, services.store.deliveries)
        self._pauses = services.settings.pauses
        self._looked: Millis | None = None if self._pauses else services.clock.now()
        self._written = 0

    async def trim(self) -> None:
        """Remove what is over, if it is time to look. A sweep never fails for it."""
        now, written = self._services.clock.now(), sum(each.written for each in self._kept)
        since = EVERY if self._looked is None else now - self._looked
        early = 0 <= since < EVERY  # else also where the clock was set back
        if early and written - self._written < MANY:
            return
        loop = asyncio.get_running_loop()
        over = loop.time() + (PAUSING if self._pauses else 0)
        try:
            while any([await each.trim(now, FEW) for each in self._kept]):
                if loop.time() >= over:
                    return
        except StoreError as error:
            log.warning("what is kept for a while only could not be removed: %s", error)
        self._looked, self._written = now, written

"""Removes what is kept for a while only and is over its bounds, a little with each sweep.

It is looked for once a minute; as long as something is found, with every sweep.
"""

from __future__ import annotations

import logging

from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.records import Millis

log = logging.getLogger("rewake.sweeper")

EVERY: Millis = 60_000
FEW = 200
"""The most items of each series that are removed with one sweep."""


class Trimmer:
    """Keeps what only grows within its bounds. All processes of a store may do so at once."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._looked: Millis = services.clock.now()

    async def trim(self) -> None:
        """Remove what is over, if it is time to look. A sweep never fails for it."""
        now = self._services.clock.now()
        if 0 <= now - self._looked < EVERY:  # else the clock was set back
            return
        try:
            if await self._services.store.audit.trim(now, FEW):
                return
        except StoreError as error:
            log.warning("old entries of the audit log could not be removed: %s", error)
        self._looked = now

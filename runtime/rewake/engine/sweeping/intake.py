"""Taking in tasks of the tags that this process serves: as many as there is room for.

Offered tasks wait in the due index, not in a process: many thousands may wait for few servers. So
one looks at no more of them than it can begin at once. It claims them as they are, with no
write before, and goes on behind them as soon as there is room again. What it has read ahead is only
a hint: another server may have it by then, and each is looked at before it is begun.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable, Collection, Sequence

from rewake.engine.services import Services
from rewake.stores.table import Due

log = logging.getLogger("rewake.sweeper")

PAGE = 500

Check = Callable[[Sequence[Due]], Awaitable[None]]
"""Checks the items of these entries: what can be begun is begun, all else is seen to."""


class _Part:
    """What is left of what was read of one part. `behind`: there is more, behind this entry."""

    def __init__(self) -> None:
        self.left: deque[Due] = deque()
        self.behind: Due | None = None


class Intake:
    """Looks through the parts of the due index of this process's tags."""

    def __init__(self, services: Services, check: Check, arm: Callable[[Due], None]) -> None:
        self._services = services
        self._check = check
        self._arm = arm
        self._only: Collection[str] | None = None
        self._parts: defaultdict[str, _Part] = defaultdict(_Part)
        self._open = self._anew = False
        self._looking: asyncio.Task[None] | None = None
        services.slots.freed, services.look_soon = self._freed, self.look_soon

    def open(self, only: Collection[str] | None) -> None:
        """Begin to look whenever there is a reason; with `only`, for tasks of those runs."""
        self._open, self._only = True, only

    def close(self) -> None:
        """Look no more."""
        self._open = False
        if self._looking is not None:
            self._looking.cancel()

    async def look(self) -> None:
        """Look through all parts, from their beginnings, and begin what there is room for."""
        self._anew = False
        for tag in filter(None, self._services.tags.looked_after):
            if not self._room(tag):
                self._anew = True
                return
            await self._read(tag, None)
            await self._take(tag)

    def look_soon(self) -> None:
        """Look as soon as may be: tasks were offered in this process."""
        if self._open:
            self._anew = True
            self._begin()

    def _freed(self) -> None:
        """A slot is free: what was left for want of room may be begun."""
        left = self._anew or any(part.left or part.behind for part in self._parts.values())
        if self._open and left:
            self._begin()

    def _begin(self) -> None:
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._go_on())

    async def _go_on(self) -> None:
        try:
            for tag in list(self._parts):
                await self._take(tag)
            while self._anew and self._services.slots.free:
                await self.look()
        except Exception:  # of any kind: the next sweep looks again
            log.debug("what is due of this process's tags could not be looked at", exc_info=True)

    async def _read(self, tag: str, last: Due | None) -> None:
        """Read a page of a part, behind an entry; what is not due yet is armed."""
        services, part = self._services, self._parts[tag]
        now = services.clock.now()
        until = now + services.settings.horizon
        found = await services.store.due(until, limit=PAGE, tag=tag, runs=self._only, after=last)
        for due in found:
            if due.due > now:
                self._arm(due)
        part.left = deque(due for due in found if due.due <= now)
        part.behind = found[-1] if len(found) == PAGE and found[-1].due <= now else None

    async def _take(self, tag: str) -> None:
        """Begin what was read, while there is room; without any there is nothing to look at."""
        part = self._parts[tag]
        while (room := self._room(tag)) and (part.left or part.behind):
            if not part.left:
                await self._read(tag, part.behind)
            some = [part.left.popleft() for _ in range(min(room, len(part.left)))]
            await self._check(some)

    def _room(self, tag: str) -> int:
        """How many can be begun; of what is only sent on from here, a page."""
        return PAGE if self._services.tags.is_routed(tag) else self._services.slots.free

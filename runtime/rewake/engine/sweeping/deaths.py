"""What a dead process held: it is looked for, so that others begin it at once.

A process's item is due when its lease may be over. What names it is not due for long then, and is
made due (`stores/processes.py` has the theory).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence

from rewake.engine.services import Services
from rewake.engine.sweeping.looks import PAGE, look_at_each
from rewake.ledger import Process
from rewake.records import Header, Millis, Operation
from rewake.stores.keys import process_key
from rewake.stores.processes import KEPT, next_look
from rewake.stores.table import Due, Key
from rewake.tags import UNTAGGED

log = logging.getLogger("rewake.sweeper")

MAX_BACKOFF: Millis = 60_000
LOOKS = 2
"""How often what a dead process held is looked for."""

_Test = Callable[[Header | Operation], Awaitable[bool]]


class Deaths:
    """Notices that a process died, and makes due what it held."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store

    async def check(self, found: Process, due: Millis, now: Millis) -> list[Due]:
        """Check a process that is due. Returns what is to be checked next, and when."""
        settings, key = self._services.settings, process_key(found.name)
        if not await self._store.bury(found, now):
            at = found.lease + settings.skew + 1
            if at <= now:  # it is noted that its lease is over
                return [Due(now + settings.patience + settings.skew, key)]
            return [Due(at, key)] if await self._store.postpone(key, due, at) else []
        dead = await self._store.process(found.name)
        if dead is None or dead.due is None or dead.due > now:
            return []
        if dead.looks >= LOOKS:
            await self._store.end_process(dead.name)
            return []
        if not await self._store.postpone(key, dead.due, now + settings.grace):
            return []  # another process looks
        if not dead.looks:
            log.warning("the process %s seems dead: what it held is taken over", dead.where)
        tags = dead.tags or [UNTAGGED]
        held = await self._made_due(now, tags, lambda item: _is_of(item, dead.name))
        last = dead.looks + 1 == LOOKS
        await self._store.looked_for(dead, now + (KEPT if last else settings.lease))
        return held

    async def look_ahead(self, runs: Collection[str]) -> None:
        """Make due what dead processes held of some runs, for who looks at nothing but these."""
        tags = self._services.tags.looked_after
        await self._made_due(self._services.clock.now(), tags, self._is_left, runs)

    async def _is_left(self, item: Header | Operation) -> bool:
        now = self._services.clock.now()
        other = item.process and item.process != self._services.heart.name
        return bool(other) and await self._store.ended(item, now) is not None

    async def _made_due(
        self, now: Millis, tags: Sequence[str], is_left: _Test, runs: Collection[str] | None = None
    ) -> list[Due]:
        until, made = next_look(now, self._services.settings.lease), list[Due]()
        for tag in tags:
            last: Due | None = Due(now, Key("", ""))
            while last is not None:
                page = await self._store.due(until, limit=PAGE, tag=tag, runs=runs, after=last)
                looked_at = await look_at_each(page, lambda key: self._make_due(key, now, is_left))
                made += [Due(now, due.key) for due, was_made in looked_at if was_made]
                last = page[-1] if len(page) == PAGE else None
        return made

    async def _make_due(self, key: Key, now: Millis, is_left: _Test) -> bool:
        item = await self._store.item(key)
        if not isinstance(item, Header | Operation) or item.due is None:
            return False
        return await is_left(item) and await self._store.postpone(key, item.due, now)


async def _is_of(item: Header | Operation, process: str) -> bool:
    return item.process == process


def backoff(deaths: int) -> Millis:
    """Milliseconds by which the take-over of a run is delayed, more after each death."""
    return 0 if deaths < 1 else min(1000 * 2 ** (deaths - 1), MAX_BACKOFF)

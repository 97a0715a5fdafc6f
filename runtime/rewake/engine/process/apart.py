"""The one suspect that a process has at a time; `stores/suspects.py` has the theory.

Others wait here in turn, unclaimed, so that any process with room for one may begin them.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rewake.clock import Clock
from rewake.records import Millis
from rewake.stores.suspects import alone_for


class Stay:
    """The time in which one suspect is kept apart from others."""

    def __init__(self, rooms: Apart, length: Millis) -> None:
        self._rooms = rooms
        self._length = length
        self._until = rooms.clock.now() + length
        self._over = False

    def keep(self) -> bool:
        """Whether the next renewal still says that the suspect is apart."""
        # On a clock that was set back, it must not last for longer.
        return not self._over and 0 < self._until - self._rooms.clock.now() <= self._length

    def is_ending(self) -> bool:
        """Whether it is to be written that the suspect is apart no more."""
        return not self._over and not self.keep()

    def leave(self) -> None:
        """Begin the next suspect. Only when it is written that this one is apart no more."""
        if not self._over:
            self._over = True
            self._rooms.free()


class Apart:
    """Lets one suspect in at a time, in turn."""

    def __init__(self, clock: Clock, lease: Millis) -> None:
        self.clock = clock
        self._lease = lease
        self._taken = False
        self._waiting: dict[tuple[str, str], asyncio.Future[bool]] = {}

    @asynccontextmanager
    async def entering(self, run: str, key: str, deaths: int) -> AsyncIterator[Stay | None]:
        """Keep all other suspects out. None if this one waits already, or the process closes."""
        if not await self._enter((run, key)):
            yield None
            return
        stay = Stay(self, alone_for(deaths, self._lease))
        try:
            yield stay
        finally:
            stay.leave()

    async def _enter(self, here: tuple[str, str]) -> bool:
        if here in self._waiting:
            return False
        if not self._taken:
            self._taken = True
            return True
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting[here] = waiting
        try:
            return await waiting
        except asyncio.CancelledError:
            if waiting.done() and not waiting.cancelled() and waiting.result():
                self.free()  # it was let in just before
            raise
        finally:
            if self._waiting.get(here) is waiting:
                del self._waiting[here]

    def free(self) -> None:
        """Let the next one in."""
        self._taken = False
        for here, waiting in list(self._waiting.items()):
            del self._waiting[here]
            if not waiting.done():
                self._taken = True
                waiting.set_result(True)
                return

    def close(self) -> None:
        """Send away all that wait: other processes begin them."""
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result(False)
        self._waiting.clear()

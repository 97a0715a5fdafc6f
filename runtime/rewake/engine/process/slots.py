"""Slots: the room for attempts that run at once in this process.

Who waits for one is let in by priority: a level of it is worth as many places as in the line of a
limit (`stores/books.py`), so that no one waits for ever.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from rewake.stores.books import LEVEL


class Slots:
    """Room for attempts: taken one by one, waiting in turn, or reserved before a claim.

    A reserved slot is used at once, so nothing that is claimed waits for a slot.
    """

    def __init__(self, size: int) -> None:
        self.free = size
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._come = 0
        self.freed: Callable[[], None] | None = None
        """Told whenever a slot is free, and nobody here waits for one."""

    def reserve(self, wanted: int) -> int:
        """Take up to `wanted` free slots. Returns how many; the caller releases each."""
        taken = 0 if self._waiting else min(wanted, self.free)
        self.free -= taken
        return taken

    def release(self, count: int = 1) -> None:
        """Release slots: attempts that wait for one get them, in turn."""
        self.free += count
        while self.free and self._waiting:
            waiting = heapq.heappop(self._waiting)[2]
            if not waiting.done():
                self.free -= 1
                waiting.set_result(None)
        if count and self.free and self.freed is not None:
            self.freed()

    async def take(self, longest: float) -> bool:
        """Wait for a slot, for so many seconds at most. Returns whether there was one."""
        try:
            async with asyncio.timeout(longest):
                await self.wait()
        except TimeoutError:
            return False
        return True

    async def wait(self, priority: int = 0) -> None:
        """Take a slot, after all who came before and have no lower priority."""
        if self.reserve(1):
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._come += 1
        heapq.heappush(self._waiting, (self._come - LEVEL * priority, self._come, waiting))
        try:
            await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled():
                self.release()  # the slot was given just before
            raise

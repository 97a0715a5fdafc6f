"""The work under way in this process, so that closing can wait for it, then cut it off."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, TypeVar

from rewake.errors import RewakeError

T = TypeVar("T")
log = logging.getLogger("rewake.engine")

CLEANUP = 1.0
"""Seconds for a cancelled attempt to end; after that, nothing waits for it."""
LAST_WORDS = 5.0
"""Seconds for cancelled work to release its claims."""


class Work:
    """The invocations under way. Once `closing` is set, a cancelled one ends without an error."""

    def __init__(self) -> None:
        self.closing = False
        self._under_way: set[asyncio.Task[Any]] = set()
        self._begun: set[asyncio.Task[Any]] = set()
        """What was begun here, for asyncio itself keeps no task; one that never started stays."""

    async def do(self, run: str, work: Awaitable[T]) -> T | None:
        """What `work` for a run comes to; None if it is cut off, or fails.

        A `RewakeError` is logged: a due time covers its work.
        """
        task = asyncio.current_task()
        outermost = task is not None and task not in self._under_way
        if task is not None:
            self._under_way.add(task)
        try:
            return await work
        except asyncio.CancelledError:
            if not self.closing:
                raise
        except RewakeError:
            log.warning("an invocation of run %s failed; it is retried", run, exc_info=True)
        finally:
            if task is not None and outermost:
                self._under_way.discard(task)
                self._begun.discard(task)
        return None

    def begin(self, run: str, work: Awaitable[Any]) -> None:
        """Do `work` in an asyncio task of its own."""
        self._begun.add(asyncio.ensure_future(self.do(run, work)))

    async def rest(self, seconds: float) -> None:
        """Let the work under way end within so many seconds, cut off the rest, and take more.

        For a process that may stand still from here until more work comes.
        """
        closes = self.closing
        await self.settle(asyncio.get_running_loop().time() + seconds)
        if self._under_way:
            self.closing = True
            try:
                await self.end(0)
            finally:
                self.closing = closes

    async def settle(self, until: float) -> None:
        """Wait for the work under way until that time of the event loop."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # work that was begun just now starts, and can be waited for
        while self._under_way and (left := until - loop.time()) > 0:
            await asyncio.wait(self._under_way, timeout=left)
            await asyncio.sleep(0)

    async def end(self, grace: float) -> None:
        """Let the work under way end within `grace` seconds, then cancel it and wait for its end.

        Work that is still running `LAST_WORDS` seconds after that is left behind.
        """
        if self._under_way:
            await asyncio.wait(self._under_way, timeout=grace)
        await asyncio.sleep(0)  # work that was begun just now starts, and can be waited for
        for task in list(self._under_way):
            task.cancel()
        if self._under_way:
            _, left = await asyncio.wait(self._under_way, timeout=LAST_WORDS)
            if left:
                log.warning("%d invocations do not end; they are left behind", len(left))

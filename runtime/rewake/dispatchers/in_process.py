"""The embedded dispatcher: messages become asyncio tasks of this process, delays become timers."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence

from rewake.clock import Clock
from rewake.dispatchers.delays import Delays
from rewake.dispatchers.dispatcher import Closing, Handler
from rewake.records import Invocation

log = logging.getLogger("rewake.dispatcher")


class InProcessDispatcher:
    """Runs each message at once, or at its time, as an asyncio task of its own."""

    local = True
    reach = 0
    dead_letters = None

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._handler: Handler | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        # By run and key: the message to handle when the one under way has ended. Every sweep
        # offers a task again that waits for a slot; the offers must not pile up.
        self._under_way: dict[tuple[str, str], Invocation | None] = {}
        self._delays = Delays(self._start)

    def open(self, handler: Handler) -> None:
        self._handler = handler

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        now = self._clock.now()
        for invocation in invocations:
            wait = 0 if invocation.not_before is None else invocation.not_before - now
            if wait <= 0:
                self._start(invocation)
            else:
                self._delays.add(invocation, wait)

    def _start(self, invocation: Invocation) -> None:
        if self._handler is None:
            return
        key = (invocation.run, invocation.key)
        if invocation.key and key in self._under_way:
            self._under_way[key] = invocation
            return
        self._under_way[key] = None
        task: asyncio.Task[object] = asyncio.ensure_future(self._handler(invocation))
        self._tasks.add(task)
        task.add_done_callback(functools.partial(self._over, key))

    def _over(self, key: tuple[str, str], task: asyncio.Task[object]) -> None:
        again = self._under_way.pop(key, None)
        self._ended(task)
        if again is not None:
            self._start(again)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Closing):
            log.error("an invocation failed; its run's due time covers it", exc_info=error)

    async def is_behind(self) -> bool:
        return False

    async def flush(self) -> None:
        """There is nothing to send: what it carries stays in this process."""

    async def close(self) -> None:
        self._handler = None
        self._delays.clear()
        if self._tasks:
            await asyncio.wait(self._tasks)

"""The inbox: messages that arrived over HTTP and are being worked on.

No answer waits for that work, unless the process stands still between requests. So that a flood
cannot fill the memory, the inbox has room for `ROOM` messages and refuses more; a sweep then finds
their work.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.records import Invocation

ROOM = 2_000
"""How many messages may be under way."""


Within = Callable[[Invocation, float], Awaitable[object]]
"""Handles a message within so many seconds."""


class Inbox:
    """Calls `handler` with each message, in an asyncio task of its own.

    With `within`, a message is handled by that, before it is answered.
    """

    def __init__(
        self, handler: Handler, clock: Clock, room: int = ROOM, *, within: Within | None = None
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._within = within
        self._room = room
        self._under_way = 0
        # It folds messages about one task together, and holds early ones until their time.
        self._local = InProcessDispatcher(clock)

    def open(self) -> None:
        """Begin to take messages."""
        self._local.open(self._handle)

    async def take(self, invocation: Invocation, seconds: float) -> bool:
        """Take a message; False if there is no room. `seconds`: how long its request may take."""
        if self._under_way >= self._room:
            return False
        if self._within is None:
            await self._local.dispatch([invocation])
        else:
            await self._carry_out(self._within, invocation, seconds)
        return True

    async def close(self) -> None:
        """Take no more messages, and wait for those under way."""
        await self._local.close()

    async def _carry_out(self, within: Within, invocation: Invocation, seconds: float) -> None:
        wait = max(0, (invocation.not_before or 0) - self._clock.now())
        if wait >= seconds * 1000:
            return  # the due index covers it
        self._under_way += 1
        try:
            await self._clock.sleep(wait)
            await within(invocation, seconds - wait / 1000)
        finally:
            self._under_way -= 1

    async def _handle(self, invocation: Invocation) -> None:
        self._under_way += 1
        try:
            await self._handler(invocation)
        finally:
            self._under_way -= 1

"""The inbox: messages that arrived over HTTP and are being worked on.

No answer waits for that work, unless the process stands still between requests. So that a flood
cannot fill the memory, the inbox has room for `ROOM` messages and refuses more; a sweep then finds
their work. Those about tasks may wait for a slot for hours: what needs none has room of its own.
"""

from __future__ import annotations

from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.handover.within import seconds_left
from rewake.records import Invocation

ROOM = 2_000
"""How many messages may be under way of those that need a slot, and of the others."""


class Inbox:
    """Calls `handler` with each message, in an asyncio task of its own.

    With `first`, a message is answered only when it was handled.
    """

    def __init__(
        self, handler: Handler, clock: Clock, room: int = ROOM, *, first: bool = False
    ) -> None:
        self._handler = handler
        self._clock = clock
        self._first = first
        self._room = room
        self._under_way = {True: 0, False: 0}
        # It folds messages about one task together, and holds early ones until their time.
        self._local = InProcessDispatcher(clock)

    def open(self) -> None:
        """Begin to take messages."""
        self._local.open(self._handle)

    async def take(self, invocation: Invocation) -> bool:
        """Take a message; False if there is no room."""
        if self._under_way[_needs_slot(invocation)] >= self._room:
            return False
        if not self._first:
            await self._local.dispatch([invocation])
            return True
        wait, left = (invocation.not_before or 0) - self._clock.now(), seconds_left()
        if left is None or wait < left * 1000:  # else the due index covers it
            await self._clock.sleep(max(0, wait))
            await self._handle(invocation)
        return True

    async def close(self) -> None:
        """Take no more messages, and wait for those under way."""
        await self._local.close()

    async def _handle(self, invocation: Invocation) -> None:
        needs = _needs_slot(invocation)
        self._under_way[needs] += 1
        try:
            await self._handler(invocation)
        finally:
            self._under_way[needs] -= 1


def _needs_slot(invocation: Invocation) -> bool:
    return bool(invocation.key) and not invocation.kind.traits.of_run

"""The inbox: messages that arrived over HTTP and are being worked on.

No answer waits for that work. So that a flood cannot fill the memory, the inbox has room for
`ROOM` messages and refuses more; a sweep then finds their work.
"""

from __future__ import annotations

from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.records import Invocation

ROOM = 2_000
"""How many messages may be under way."""


class Inbox:
    """Calls `handler` with each message, in an asyncio task of its own."""

    def __init__(self, handler: Handler, clock: Clock, room: int = ROOM) -> None:
        self._handler = handler
        self._room = room
        self._under_way = 0
        # It folds messages about one task together, and holds early ones until their time.
        self._local = InProcessDispatcher(clock)

    def open(self) -> None:
        """Begin to take messages."""
        self._local.open(self._handle)

    async def take(self, invocation: Invocation) -> bool:
        """Take a message; False if there is no room."""
        if self._under_way >= self._room:
            return False
        await self._local.dispatch([invocation])
        return True

    async def close(self) -> None:
        """Take no more messages, and wait for those under way."""
        await self._local.close()

    async def _handle(self, invocation: Invocation) -> None:
        self._under_way += 1
        try:
            await self._handler(invocation)
        finally:
            self._under_way -= 1

"""Where messages that arrive over HTTP wait while they are worked on.

They are answered at once. So that a flood of them cannot fill the memory, the inbox has room for so
many; for more, another replica is asked, or the due index brings them back.
"""

from __future__ import annotations

from rewake.clock import Clock
from rewake.dispatchers.dispatcher import Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.records import Invocation

ROOM = 2_000
"""How many messages may be under way."""


class Inbox:
    """Hands messages to `handler`, each in an asyncio task of its own."""

    def __init__(self, handler: Handler, clock: Clock, room: int = ROOM) -> None:
        self._handler = handler
        self._room = room
        self._under_way = 0
        # It folds messages about one task together, and keeps those that come early.
        self._local = InProcessDispatcher(clock)

    def open(self) -> None:
        """Begin to take messages."""
        self._local.open(self._handle)

    async def take(self, invocation: Invocation) -> bool:
        """Take a message, if there is room."""
        if self._under_way >= self._room:
            return False
        await self._local.dispatch([invocation])
        return True

    async def close(self) -> None:
        """Take nothing more, and wait for what is under way."""
        await self._local.close()

    async def _handle(self, invocation: Invocation) -> None:
        self._under_way += 1
        try:
            await self._handler(invocation)
        finally:
            self._under_way -= 1

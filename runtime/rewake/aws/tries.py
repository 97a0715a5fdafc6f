"""Trying again: after a pause that grows, of which chance takes a part, and not for ever."""

from __future__ import annotations

import asyncio
import random

from rewake.errors import StoreUnavailable

PATIENCE = 5.0
"""Seconds for which a request is tried again."""
_FIRST, _LONGEST = 0.025, 1.0
"""The first pause, and the longest, in seconds."""


class Tries:
    """The tries at one request."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._now = asyncio.get_running_loop().time
        self._deadline = self._now() + PATIENCE
        self._number = 0

    async def again(self, reason: str) -> None:
        """Wait for the next try. Raises `StoreUnavailable` for this reason if it is too late."""
        if self._now() >= self._deadline:
            raise StoreUnavailable(reason)
        await pause(self._chance, self._number)
        self._number += 1


async def pause(chance: random.Random, number: int) -> None:
    """Wait after so many tries that failed."""
    await asyncio.sleep(chance.uniform(0, min(_LONGEST, _FIRST * 2 ** min(number, 10))))

"""The time of a virtual event loop, as the engine's wall clock."""

from __future__ import annotations

import asyncio

from rewake.records import Millis
from rewake.testing.loop import VirtualLoop

EPOCH: Millis = 1_700_000_000_000
"""The moment at which a virtual clock begins that is told of none: in November 2023."""


class VirtualClock:
    """The loop's time, as the wall clock. `epoch`: the moment at which it begins."""

    def __init__(self, loop: VirtualLoop, epoch: Millis = EPOCH) -> None:
        self._loop = loop
        self._epoch = epoch

    def now(self) -> Millis:
        return self._epoch + int(self._loop.seconds * 1000 + 1e-6)

    async def sleep(self, duration: Millis) -> None:
        await asyncio.sleep(max(0, duration) / 1000)

"""The engine's clock: its one source of moments, so that tests and simulations can own time."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from rewake.records import Millis


class Clock(Protocol):
    """The time, as the engine and the dispatchers ask for it."""

    def now(self) -> Millis:
        """The wall clock, in milliseconds since the Unix epoch. It may jump."""
        ...

    async def sleep(self, duration: Millis) -> None:
        """Wait that many milliseconds."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> Millis:
        return int(time.time() * 1000)

    async def sleep(self, duration: Millis) -> None:
        await asyncio.sleep(max(0, duration) / 1000)

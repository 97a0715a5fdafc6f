"""How many attempts run at once in this process."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Slots:
    """A semaphore that says how much of it is free."""

    def __init__(self, size: int) -> None:
        self.free = size
        self._semaphore = asyncio.Semaphore(size)

    async def __aenter__(self) -> None:
        self.free -= 1
        try:
            await self._semaphore.acquire()
        except BaseException:
            self.free += 1
            raise

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.free += 1
        self._semaphore.release()

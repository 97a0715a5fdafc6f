"""One process of an environment: an engine of the real kind, and its HTTP face."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import random
from collections.abc import Coroutine
from typing import Any, TypeVar

from rewake.app import App
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.http.app import create_app
from rewake.records import Millis
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.tags import EVERY
from rewake.testing.clock import VirtualClock
from rewake.testing.loop import BACKGROUND, OWNER, VirtualLoop

T = TypeVar("T")

URL = "http://rewake.test"
TOKEN = "the-token-of-a-world-of-tests"  # noqa: S105 - it opens nothing else
FOREVER: Millis = 100 * 366 * 86_400_000
"""How far ahead timers are armed."""


class Process:
    """A process, which owns what it does in the loop. `death` is done once it is dead."""

    paused_until = 0.0

    def __init__(
        self,
        loop: VirtualLoop,
        app: App,
        table: MemoryTable,
        clock: VirtualClock,
        secret: Secret,
        *,
        number: int,
    ) -> None:
        self._loop = loop
        self.dead = False
        self.death: asyncio.Future[None] = loop.create_future()
        self.home = contextvars.copy_context()
        self.home.run(OWNER.set, self)
        count, where = itertools.count(), f"test:{number}"
        self.engine = Engine(
            app,
            table,
            InProcessDispatcher(clock),
            secret,
            clock=clock,
            settings=Settings(horizon=FOREVER, served=EVERY, url=URL, where=where),
            unique=lambda: f"{number:04x}{next(count):08x}",
            chance=random.Random(number),
            threads=False,
        )
        self.http = create_app(self.engine, secret, tokens=[TOKEN], clock=clock, development=True)

    @property
    def is_busy(self) -> bool:
        """Whether it holds anything, and so has to keep that by its lease."""
        return not self.dead and self.engine.services.heart.is_needed

    def open(self) -> None:
        """Begin to work. What it does by itself from then on is upkeep.

        What its attempts do is none, nor whatever follows from that: a run that one of them tells,
        or starts, waits for its own timers.
        """
        context = self.home.copy()
        context.run(BACKGROUND.set, True)
        context.run(self.engine.open, sweep=False)
        self.engine.services.context = self.home.copy()

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start something in this process."""
        return self._loop.create_task(work, context=self.home.copy())

    def die(self) -> None:
        """End here and now."""
        self.dead = True
        self._loop.cut_off()
        resolve(self.death, None)

    async def close(self) -> None:
        """End in an orderly way."""
        await self.spawn(self.engine.close(grace=0))


def resolve(future: asyncio.Future[Any], result: object) -> None:
    """Give a future its result, unless it is done."""
    if not future.done():
        future.set_result(result)

"""What the parts of an engine share."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field

from rewake.app import App
from rewake.authoring.context import TaskContext
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.engine.cache import Cache
from rewake.engine.claims import Claims
from rewake.engine.clock import Clock
from rewake.engine.heart import Heart
from rewake.engine.logs import AttemptLog
from rewake.engine.settings import Settings
from rewake.engine.slots import Slots
from rewake.errors import StoreError
from rewake.records import Invocation, LogBatch, Millis, Operation, Outcome
from rewake.secret import Secret
from rewake.stores.protocol import Store
from rewake.stores.results import TaskClaim
from rewake.stores.table import Due

log = logging.getLogger("rewake.engine")


@dataclass(slots=True)
class Services:
    """One engine's parts.

    `pokes` has, by run, what to call when something arrives for a run that this process is working
    on; `steps` which steps it is carrying out; `waiters` who waits for a run to end; `home` is the
    engine's own event loop.
    """

    app: App
    store: Store
    dispatcher: Dispatcher
    clock: Clock
    secret: Secret
    settings: Settings
    claims: Claims
    heart: Heart
    cache: Cache
    token: Callable[[], str]
    chance: random.Random
    threads: Executor | None
    slots: Slots
    begin: Callable[[Invocation, Operation], None]
    look: Callable[[Due], None]
    home: asyncio.AbstractEventLoop | None = None
    pokes: dict[str, Callable[[], None]] = field(default_factory=dict)
    steps: dict[str, Mapping[str, object]] = field(default_factory=dict)
    waiters: dict[str, set[asyncio.Future[Outcome | None]]] = field(default_factory=dict)

    def call_home(self, callback: Callable[[], object]) -> None:
        """Call something in the engine's own event loop, from whichever thread."""
        if self.home is not None:
            self.home.call_soon_threadsafe(callback)

    def poke(self, run: str) -> None:
        """Tell the invocation of `run` in this process, if there is one, that something arrived."""
        poke = self.pokes.get(run)
        if poke is not None:
            poke()

    def ended(self, run: str, outcome: Outcome | None = None) -> None:
        """Wake those who wait for the run to end."""
        for waiter in self.waiters.pop(run, ()):
            if not waiter.done():
                waiter.set_result(outcome)

    async def keep_log(self, context: TaskContext, logs: AttemptLog) -> None:
        """Keep what an attempt logged. No attempt fails for its log."""
        try:
            for part, lines in enumerate(logs.batches()):
                batch = LogBatch(context.run, context.key, context.attempt, lines)
                await self.store.log(batch, part)
        except StoreError:
            log.warning("what %s logged could not be kept", context.key, exc_info=True)

    def lease(self) -> tuple[str, Millis]:
        """A new owner token, and how long it holds."""
        return self.token(), self.settings.lease

    def task_claim(self, run: str, key: str, name: str) -> TaskClaim:
        """A claim of a task for this process, from now on."""
        return TaskClaim(run, key, name, self.token(), self.clock.now(), self.settings.lease)

    def free_slots(self) -> int:
        """How many more attempts this process may begin now, of tasks that it dispatches itself."""
        return self.slots.free if self.dispatcher.local else 0

    async def wake(self, run: str) -> None:
        """Dispatch the run."""
        await self.dispatcher.dispatch([Invocation(run)])

"""The engine: it opens and closes one process's share of the work, and takes its messages.

It knows four small protocols and nothing behind them: a table, a shelf, a dispatcher, a clock.
Requests about runs are in `runs`, decisions in `approvals`; both act on the engine's services.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import itertools
import logging
import os
import random
import secrets
import string
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress

import msgspec

from rewake import forks
from rewake.app import App
from rewake.clock import Clock, SystemClock
from rewake.dispatchers.dispatcher import Closing, Dispatcher
from rewake.dispatchers.routes import routed_tags
from rewake.engine.alerts.hooks import Hooks
from rewake.engine.attempts.attempts import Attempts
from rewake.engine.handover.watchdog import Watchdog
from rewake.engine.handover.within import done_in_time, done_within, seconds_left
from rewake.engine.instances.cache import Cache
from rewake.engine.logs.logs import capture
from rewake.engine.outside.children import Children
from rewake.engine.outside.events import Events
from rewake.engine.outside.reaching import Reaching
from rewake.engine.process.apart import Apart
from rewake.engine.process.heart import Heart
from rewake.engine.process.leases import PASSING, Claims
from rewake.engine.process.slots import Slots
from rewake.engine.process.tags import Tags
from rewake.engine.process.threads import ThreadPools
from rewake.engine.runs.family import family_of
from rewake.engine.runs.runs import Runs
from rewake.engine.schedules.schedules import Schedules
from rewake.engine.services import Here, Services
from rewake.engine.settings import Settings
from rewake.engine.sweeping.held import SOON, held_until
from rewake.engine.sweeping.sweeper import Sweeper
from rewake.engine.turns.deliveries import Deliveries
from rewake.engine.turns.turn import Turn
from rewake.errors import ConfigError, ReadableElsewhere, StoreError
from rewake.records import Header, Invocation, Millis, Operation
from rewake.signing.secret import Secret
from rewake.states import ASLEEP, RunState
from rewake.stores.answers import Suspect
from rewake.stores.herald import herald_of
from rewake.stores.patience import asked_again
from rewake.stores.protocol import Store
from rewake.stores.sealing import behind_codec
from rewake.stores.shelf import Shelf, shelf_of
from rewake.stores.table import Due, Table

log = logging.getLogger("rewake.engine")

_DIGITS = string.digits + string.ascii_letters
_LAST_WORD = 1.0  # Seconds for what is sent by who has used up its time.


class Engine(Runs):
    """One process's share of the work on a store.

    `open` begins to sweep and to take messages, `close` releases all claims. All methods are for
    one event loop. `Approvals(engine)` decides on approvals.

    `shelf` keeps large values, by default the table itself. `unique` makes names that nobody else
    has and `chance` is the engine's randomness: with both, a simulation is deterministic.
    With `threads=False`, everything happens in the caller's event loop and in its own threads.
    """

    _sweeping: asyncio.Task[None] | None = None
    _listening: asyncio.Future[None] | None = None

    def __init__(
        self,
        app: App,
        table: Table,
        dispatcher: Dispatcher,
        secret: Secret,
        *,
        shelf: Shelf | None = None,
        clock: Clock | None = None,
        settings: Settings | None = None,
        unique: Callable[[], str] | None = None,
        chance: random.Random | None = None,
        threads: bool = True,
    ) -> None:
        self.app, self._threaded, self._herald = app, threads, herald_of(table)
        self.settings, clock = settings or Settings(), clock or SystemClock()
        here, unique = Here(Cache(self.settings.cached)), unique or unique_names()
        kept = asked_again(behind_codec(table, secret.codec), shelf or shelf_of(table))
        store = Store(*kept, mark=unique, clock=clock, here=here, **_times(self.settings))
        tags = Tags(store, clock, self.settings, routed_tags(dispatcher), app.tags)
        super().__init__(
            Services(
                app=app,
                store=store,
                dispatcher=dispatcher,
                clock=clock,
                secret=secret,
                settings=self.settings,
                claims=Claims(store, clock, self.settings),
                heart=Heart(store, clock, self.settings, unique, tags, threaded=threads),
                here=here,
                slots=Slots(self.settings.tasks),
                apart=Apart(clock, self.settings.lease),
                unique=unique,
                chance=chance or random.Random(),
                threads=ThreadPools(self.settings.tasks, own=threads),
                begin=self._begin,
                arm=self._arm,
                tags=tags,
            )
        )
        own, self._claiming = (self._services, Deliveries(self._services)), dict[str, bool]()
        own[0].reach, own[0].events, own[0].hooks = Reaching(self), Events(self), Hooks(app, self)
        self._attempts, self._sweeper, self._pid = Attempts(*own), Sweeper(*own), os.getpid()
        self._children, self._watchdog = Children(self, own[1]), Watchdog(own[0])

    @functools.cached_property
    def schedules(self) -> Schedules:
        """What starts runs at their times."""
        return Schedules(self._services, self)

    @property
    def abandoned_threads(self) -> int:
        """How many threads still run a sync function whose attempt is over."""
        return self._services.threads.abandoned

    @property
    def free_slots(self) -> int:
        """How many more tasks can begin at once in this process."""
        return self._services.free_slots()

    @property
    def shortage(self) -> str | None:
        """What the machine was short of within the last minute: memory, files or threads."""
        return self._services.shortages.recent

    def open(self, *, sweep: bool = True, only: str | None = None) -> None:
        """Begin to take messages and, with `sweep`, to sweep; with `only`, for that run alone, and
        those that it has begun (`family`).

        Raises `ConfigError` in a child of the process that made the engine: its other children
        would make the same names, and two of a name would take each other's work for their own.
        """
        if self._pid != os.getpid():
            told = "this engine was made before a fork: make one in each process (no preloading)"
            raise ConfigError(told)
        self._services.home, self._services.handle = asyncio.get_running_loop(), self._handle
        self._services.context = contextvars.copy_context()
        capture.open()
        self._home_thread = threading.get_ident()
        forks.withhold(self)
        self._services.heart.open()
        if self._threaded:
            self._watchdog.open()
        dispatcher = self._services.dispatcher
        # Who keeps messages has to hear what became of them.
        kept = not dispatcher.local or routed_tags(dispatcher)
        dispatcher.open(self.take if kept else self.handle)
        if sweep:
            self._services.family = None if only is None else {only}
            self._sweeping = asyncio.ensure_future(self._sweeper.run(self._services.family))
        if sweep and self._herald is not None:
            self._listening = asyncio.ensure_future(self._herald.listen(self._sweeper.hurry))

    async def family(self, run: str) -> Sequence[Header]:
        """The runs that a run has begun, and those that these have. Raises `RunNotFound`."""
        found = await family_of(self._store, run)
        if self._services.family is not None:
            self._services.family.update(each.run for each in found)
        return found

    def told_to_end(self, grace: float, status: int) -> None:
        """End the process with `status` if its event loop is blocked and cannot `close` in time.

        For a signal handler, which Python runs although the loop does not turn.
        """
        self._watchdog.told_to_end(grace, status)

    def after_fork(self) -> Sequence[int]:
        """Keep a child that was forked in the event loop from going on with it. See `forks`."""
        home = self._services.home
        if home is not None and threading.get_ident() == self._home_thread:
            home.call_soon(os._exit, 1)
        return ()

    async def close(self, grace: float = 5.0) -> None:
        """Stop taking work. Work under way may end within `grace` seconds, then it is released."""
        services = self._services
        services.work.closing = True
        services.apart.close()
        for each in (self._sweeping, self._listening):
            if each is not None:
                each.cancel()
        self._sweeper.close()
        await services.work.end(grace)
        services.streams.close()
        await services.claims.sweep(0)  # what was claimed by work that was cancelled
        await services.dispatcher.close()
        await services.heart.close(services.claims.is_making)
        services.cache.clear()
        if services.home is not None:
            capture.close()
            services.home = None
        services.threads.close()
        await self._watchdog.close()
        await services.keeping.close()
        await services.store.close()

    async def handle(self, invocation: Invocation) -> None:
        """Act on one message. The stored state decides whether there is anything to do.

        What is not over in the time that there is (`within.ending_at`) is handed over.
        """
        await self._handled(invocation)

    async def take(self, invocation: Invocation) -> Millis | None:
        """Act on a message of a transport that keeps it. Raises `Closing`.

        Returns the moment from which on it is of use again, since another process has its work, or
        could not be begun here; None: nothing of it is left to do.
        """
        if self._services.work.closing:
            raise Closing
        try:
            return await self._come_of(invocation)
        except StoreError:
            log.warning("a message about run %s comes again", invocation.run, exc_info=True)
            return self._services.clock.now() + SOON

    async def _come_of(self, invocation: Invocation) -> Millis | None:
        """When a message is of use again that was acted on."""
        services = self._services
        if not invocation.key and invocation.not_before is not None:
            # Many are late for a time-out that never came: a look costs less than a claim.
            header = await services.store.find(invocation.run)
            if header is None or not _is_to_wake(header, services.clock.now()):
                early = header is not None and header.wake == invocation.not_before
                return invocation.not_before if early else None
        if await self._handled(invocation):
            return None
        if services.work.closing:
            raise Closing
        return await held_until(services, invocation)

    async def sweep(self, ahead: Millis = 0) -> None:
        """Check all items that are due, once.

        `ahead`: where no process lives until the next sweep, what is due within that time is sent.
        It ends in the time that there is (`within.ending_at`): the next one finds what is left.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds_left()):
                await self._sweeper.sweep(ahead)

    async def _handled(self, invocation: Invocation) -> bool:
        """Whether nothing of a message is left to do here, in the time that there is."""
        left, work = seconds_left(), self._handle(invocation)
        if left is None:
            return await work
        # What is handed over has a message of its own.
        return await done_within(self._services, invocation, work, left) is not False

    async def _handle(self, invocation: Invocation) -> bool:
        """Act on one message. Returns whether what it is about was carried out here."""
        work = self._services.work
        if work.closing:
            return False
        if not self._services.tags.serves(invocation.tag):
            return bool(await work.do(invocation.run, self._pass_on(invocation)))
        if invocation.tag and self.settings.pauses:
            with suppress(*PASSING):
                await self._services.tags.came()
        if invocation.key:
            sees_to = self._children if invocation.kind.traits.of_run else self._attempts
            return bool(await work.do(invocation.run, sees_to.handle(invocation)))
        return bool(await work.do(invocation.run, self._take_run(invocation.run)))

    async def rest(self, seconds: float) -> None:
        """Come to rest: hold nothing, and have nothing to send, for the process may stand still.

        Work under way may end within so many seconds; then it is released. What is to be sent has
        a moment more.
        """
        services, loop = self._services, asyncio.get_running_loop()
        until = loop.time() + seconds
        await self.settle(seconds)
        self._sweeper.close()
        await services.work.rest(until - loop.time())
        await services.claims.sweep(0)
        await services.heart.rest(services.claims.is_making)
        with suppress(TimeoutError):  # what cannot be sent by then is found by its due time
            async with asyncio.timeout_at(max(until, loop.time() + _LAST_WORD)):
                await services.dispatcher.flush()

    async def settle(self, seconds: float) -> None:
        """Wait for what is due soon, and for work under way, at most so many seconds."""
        until = asyncio.get_running_loop().time() + seconds
        await self._sweeper.linger(min(seconds, self.settings.horizon / 1000))
        await self._services.work.settle(until)

    async def _pass_on(self, invocation: Invocation) -> bool:
        """Let others find by the due index what came here, and is not served here.

        No message does that: it could come back, and go on for ever.
        """
        if invocation.tag:
            self._services.tags.went_astray(invocation.tag)
            await self._services.offer([invocation], sure=False)
        elif not invocation.key:  # else a look at its run finds it
            header = await self._services.store.find(invocation.run)
            if header is not None and header.state in (RunState.READY, RunState.PARKED):
                await self._services.store.hand_on(header)
        return True

    async def _take_run(self, run: str) -> bool:
        """Go on with a run. Returns whether it could be claimed."""
        services = self._services
        if services.elsewhere.is_aside(run, ""):
            return False
        try:
            claimed = await self._claim(run)
        except ReadableElsewhere as error:  # a newer version has it: nothing was changed
            services.elsewhere.put_back(run, "", error.reason)
            return False
        if isinstance(claimed, Header):
            await Turn(services, claimed).run()
            return True
        if claimed is not None:
            async with services.apart.entering(run, "", claimed.deaths) as stay:
                if stay is None:
                    return False
                claim = msgspec.structs.replace(services.run_claim(run), apart=True)
                claimed = await services.claims.run(run, claim)
                if isinstance(claimed, Header):
                    await Turn(services, claimed, stay=stay).run()
                    return True
        return False

    async def _claim(self, run: str) -> Header | Suspect | None:
        """Claim a run, and once more for all messages that came meanwhile, if that was refused."""
        services, claimed = self._services, None
        if run in self._claiming:
            self._claiming[run] = True
            return None
        again = True
        while again and claimed is None:
            self._claiming[run] = False
            try:
                await services.end_overtaken_turn(run)
                claimed = await services.claims.run(run, services.run_claim(run))
                if isinstance(claimed, Header):  # what a turn here held may have been handed over
                    with services.claims.making(run, "", claimed.owner):
                        await services.end_overtaken_turn(run)
            finally:
                again = self._claiming.pop(run)
        return claimed

    def _begin(self, invocation: Invocation, operation: Operation) -> None:
        work, services = self._attempts.carry_out(invocation, operation), self._services
        services.work.begin(invocation.run, done_in_time(services, invocation, work))

    def _arm(self, due: Due) -> None:
        self._sweeper.arm(due)


def _is_to_wake(header: Header, now: Millis) -> bool:
    """Whether a message that was sent for a moment finds its run waiting for that, or worse."""
    waits = header.state in ASLEEP and header.gap > 0
    return not waits or (header.wake is not None and header.wake <= now)


def _times(settings: Settings) -> dict[str, Millis]:
    """How long the store protocol waits before it takes a lease for over."""
    return {"margin": settings.skew, "patience": settings.patience}


def unique_names() -> Callable[[], str]:
    """Names for claims, marks and runs: unique, and cheap. They are no secrets."""
    prefix = "".join(secrets.choice(_DIGITS) for _ in range(8))
    # In few characters, for names stand in headers; no generator, for threads may ask at once.
    lengths = map(lambda n: itertools.product(_DIGITS, repeat=n), itertools.count(1))  # noqa: C417
    numbers = map("".join, itertools.chain.from_iterable(lengths))
    return lambda: prefix + next(numbers)


@asynccontextmanager
async def running(engine: Engine) -> AsyncIterator[Engine]:
    """An engine that is open inside the block and closed after it."""
    engine.open()
    try:
        yield engine
    finally:
        await engine.close()

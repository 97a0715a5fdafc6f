"""The simulated world: processes that die and come back, the network between them, and time."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from rewake.app import App
from rewake.dispatchers.dispatcher import Closing, Dispatcher, Handler
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.handover.blocking import Block
from rewake.engine.handover.handover import hand_over
from rewake.engine.logs.logs import capture
from rewake.engine.settings import Settings
from rewake.hosts.archives import archiving_of
from rewake.records import Invocation, Millis
from rewake.signing.aes_gcm import AesGcm
from rewake.signing.secret import Secret
from rewake.stores.archive import Archive
from rewake.stores.memory import MemoryTable
from rewake.stores.sealing import SealingTable
from rewake.stores.table import Key
from rewake.tags import Served
from rewake.testing.loop import OWNER, VirtualLoop, for_ever
from tests.simulation.faults import (
    CRASH_AFTER,
    CRASH_BEFORE,
    DOUBLED,
    EARLY,
    LATE,
    LOST,
    STALL,
    Chaos,
    failing,
)
from tests.simulation.known import Run
from tests.simulation.tables import FaultyTable
from tests.simulation.tagging import UNTAGGED
from tests.simulation.watch import Watch
from tests.support.stores import WholeTable

T = TypeVar("T")

EPOCH: Millis = 1_700_000_000_000
PLAIN = Secret("the simulation's secret")
SECRET = PLAIN.with_codec(AesGcm({"k": bytes(32)}))
"""It reads what was stored under either."""
NO_MISHAPS = ("message", "people")
"""What costs nobody a lease."""
SPARING = (("process", "loop"), ("process", "outage"))
"""Faults of processes that cost nobody a lease: it is held from a thread, or all met them."""


class Gone(Exception):
    """The process that was asked died, or did not answer."""


class World:
    """Everything of one simulation. Its processes share `base`, a table that never fails itself.

    `local`: whether each process handles what it dispatches; otherwise messages go to any.
    `jumpy`: whether clocks jump by more than the allowed skew. `favourite` gets all messages while
    it lives; `replaces`: whether a process that died is replaced. `sealed`: what is stored
    passes a codec. `queued`: messages are in a queue, which keeps them until they are done.
    `roles`: what the processes serve, one after the other.
    """

    def __init__(
        self,
        loop: VirtualLoop,
        app: App,
        base: WholeTable,
        chaos: Chaos,
        *,
        settings: Settings,
        seed: int,
        local: bool,
        replicas: int,
        transactions: bool,
        jumpy: bool = False,
        sealed: bool = False,
        queued: bool = False,
        roles: Sequence[Served] = (UNTAGGED,),
    ) -> None:
        self.roles = roles
        self.tags = sorted({"", *(tag for role in roles for tag in role.tags)})
        self.loop = loop
        self.secret = failing(SECRET, chaos, lambda: loop.seconds, seed) if sealed else PLAIN
        self._sealing = SealingTable(base, SECRET.codec) if SECRET.codec and sealed else None
        self.app = app
        self.base = base
        self.chaos = chaos
        self.settings = replace(settings, url="https://app.example")
        self.local = local
        self.queued = queued
        self.jumpy = jumpy
        self.transactions = transactions
        self.random = random.Random(f"{seed}/world")
        self.watch = Watch(self)
        self.replicas: list[Replica] = []
        self.crashes = 0
        self.favourite: Replica | None = None
        self.replaces = True
        self.begun: Counter[tuple[str, str]] = Counter()
        self.said: Counter[tuple[str, str]] = Counter()
        self.followed = 0
        self.on_change: Callable[[Run], None] = lambda run: None
        self.lines: list[str] = []
        self.archives = False
        self.archive = MemoryTable()
        self._tokens = random.Random(f"{seed}/tokens")
        self._made = 0
        self._work: set[asyncio.Task[Any]] = set()
        self._wanted = replicas

    @property
    def seconds(self) -> float:
        """Virtual time since the beginning."""
        return self.loop.seconds

    def true_now(self) -> Millis:
        """The time that a right clock shows."""
        return EPOCH + int(self.loop.seconds * 1000 + 1e-3)

    def removed(self, run: Run) -> float:
        """Note that a run is removed: it is archived by then, if any is. Returns the moment."""
        name = run.header.run
        archived = any(each == name for each, _ in self.archive._blobs)
        if self.archives and run.entries and not archived:  # else a fork that never was
            self.watch.fail(f"run {name}: it is removed, and was not archived")
        return self.seconds

    def opened(self, key: Key, item: Any) -> Any:
        """A stored item, as the engine sees it."""
        return item if self._sealing is None else self._sealing.opened(key, item)

    def mishaps(self) -> int:
        """What may have cost somebody a lease, so far; a loop that stood still, or an outage that
        all processes met, did not.
        """
        fired = sum(
            number
            for fault, number in self.chaos.fired.items()
            if fault not in SPARING and fault[0] not in NO_MISHAPS
        )
        return 2**53 if self.jumpy else fired + self.crashes - self.chaos.shared

    def is_calm(self) -> bool:
        """Whether the clocks of all processes agree, and the last mishap is over for everybody."""
        over = self.seconds > self.chaos.last + 2 * self.chaos.stalls
        return self.clocks_agree() and (over or self.has_only_jumped())

    def clocks_agree(self) -> bool:
        """Whether the clocks of all processes differ by no more than they may."""
        offsets = [replica.offset for replica in self.alive()] or [0]
        return max(offsets) - min(offsets) <= self.settings.skew

    def has_only_jumped(self) -> bool:
        """Whether nothing went wrong but clocks that jumped: no process has to recover."""
        return all(fault == ("process", "jump") for fault in self.chaos.fired)

    def refused_for(self) -> float:
        """For how many seconds more the store refuses somebody."""
        ends = [replica.refused_until for replica in self.alive()]
        ends += [] if self.chaos.outage is None else [self.chaos.outage[1]]
        return max(0.0, max(ends, default=0.0) - self.seconds)

    def unique(self) -> str:
        """A name that nobody else has."""
        return f"{self._tokens.getrandbits(64):016x}"

    def trace(self, who: str, what: str, on: str, fault: str) -> None:
        """Write down what happened."""
        mark = f" <<{fault}>>" if fault else ""
        self.lines.append(f"{self.loop.seconds:10.3f} {who:4} {what:12} {on}{mark}")

    def digest(self) -> str:
        """A digest of all that happened, in order."""
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    def changed(self, run: Run) -> None:
        """A run's state or history changed."""
        self.trace("==", str(run.header.state), f"{run.header.run} {run.header.count}", "")
        self.on_change(run)

    # --- processes -------------------------------------------------------------------------

    def open(self) -> None:
        """Start the processes."""
        for number in range(self._wanted):
            self.add_replica(self.roles[number % len(self.roles)])

    def add_replica(self, served: Served = UNTAGGED) -> Replica:
        """Start one more process, which serves this."""
        self._made += 1
        half = self.settings.skew // 2
        replica = Replica(self, f"p{self._made}", self.random.randint(-half, half), served)
        self.tags = sorted({*self.tags, *served.tags})
        self.replicas.append(replica)
        replica.open()
        return replica

    def alive(self) -> list[Replica]:
        """The processes that run."""
        return [replica for replica in self.replicas if not replica.dead]

    def died(self, why: str, who: str, served: Served) -> None:
        """A process died; another one that serves the same is started after a while."""
        self.crashes += 1
        self.trace(who, "dies", why, "")
        if self.replaces:
            after = self.random.choice((0.05, 0.5, 2.0, 7.0))
            self.later(after, lambda: self.add_replica(served))

    def kill_holder(self, run: str) -> None:
        """Kill the process that holds a run."""
        self.watch.holder(run).die("its own work")

    def later(self, delay: float, callback: Callable[[], Any]) -> None:
        """Call something that belongs to no process."""
        self.loop.call_later(delay, callback, context=contextvars.Context())

    def spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start something that belongs to no process."""
        task: asyncio.Task[T] = self.loop.create_task(work, context=contextvars.Context())
        self._work.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._work.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.watch.fail(f"somebody outside failed: {error!r}")

    async def ask(self, act: Callable[[Engine], Awaitable[T]]) -> T:
        """Ask any process for something. Raises `Gone` if it dies or does not answer."""
        alive = self.alive()
        if not alive:
            raise Gone
        replica = self.random.choice(alive)
        task = replica.spawn(act(replica.engine))
        waits: list[asyncio.Future[Any]] = [task, replica.death]
        await asyncio.wait(waits, timeout=20, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise Gone
        return task.result()

    async def insist(self, act: Callable[[Engine], Awaitable[T]], *errors: type[Exception]) -> T:
        """Ask again and again while processes die or `errors` are raised."""
        while True:
            try:
                return await self.ask(act)
            except Exception as error:
                if not isinstance(error, (Gone, *errors)):
                    raise
                await asyncio.sleep(self.random.choice((0.1, 0.7, 3.0)))

    # --- the network -----------------------------------------------------------------------

    def send(self, invocation: Invocation, wait: float) -> None:
        """Carry a message between processes: to any, in its own time."""
        for delay in self.delays(wait):
            way = self.random.choice((0.0, 0.001, 0.02))
            self.later(delay + way, lambda: self._hand(invocation))

    def delays(self, wait: float) -> Sequence[float]:
        """When a message arrives: not at all, once, or twice."""
        match self.chaos.of_message(self.seconds):
            case fault if fault == LOST:
                return ()
            case fault if fault == DOUBLED:
                return (wait, wait + self.random.choice((0.0, 0.005, 0.3, 6.0)))
            case fault if fault == LATE:
                return (wait + self.random.choice((0.05, 0.5, 3.0, 9.0)),)
            case fault if fault == EARLY:
                return (wait * self.random.random(),)
        return (wait,)

    def _hand(self, invocation: Invocation) -> None:
        alive = self.alive()
        if alive:
            replica = self.random.choice(alive)
            if self.favourite is not None and not self.favourite.dead:
                replica = self.favourite
            self.trace(replica.name, "receives", f"{invocation.run} {invocation.key}", "")
            if self.queued:
                self._lend(replica, invocation)
            else:
                self.watch_over(replica.spawn(replica.engine.handle(invocation)))
        elif self.queued:
            self.later(1.0, lambda: self._hand(invocation))

    def _lend(self, replica: Replica, invocation: Invocation) -> None:
        """Give a message out of a queue: it comes back unless its receiver says that it is done."""
        task = replica.spawn(replica.engine.take(invocation))

        def again(seconds: float) -> None:
            self.later(max(0.01, seconds), lambda: self._hand(invocation))

        def over(done: asyncio.Task[Millis | None]) -> None:
            if done.cancelled() or isinstance(done.exception(), Closing):
                again(0.01)
            elif done.exception() is not None:
                self._handled(done)
            elif (at := done.result()) is not None:
                again((at - self.true_now()) / 1000)

        def died(_: asyncio.Future[None]) -> None:
            if not task.done():
                again(self.chaos.stalls)

        task.add_done_callback(over)
        replica.death.add_done_callback(died, context=contextvars.Context())

    def watch_over(self, task: asyncio.Task[Any]) -> None:
        """A handler must not raise."""
        task.add_done_callback(self._handled)

    def _handled(self, task: asyncio.Task[Any]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self.watch.fail(f"a handler raised {error!r}")

    # --- the end ---------------------------------------------------------------------------

    def close(self) -> None:
        """Cut everything off."""
        for replica in self.alive():
            replica.dead = True
        for replica in self.replicas:
            services = replica.engine.services
            services.cache.clear()
            if services.home is not None:  # it died
                capture.close()


class Replica:
    """One process: an engine of the real kind, on a clock and a table that may fail it."""

    def __init__(self, world: World, name: str, offset: Millis, served: Served) -> None:
        self.world = world
        self.served = served
        self.name = name
        self.dead = False
        self.offset = offset
        self.stalled_until = 0.0
        self.paused_until = 0.0
        self.heart_until = 0.0
        self.refused_until = 0.0
        self.death: asyncio.Future[None] = world.loop.create_future()
        self.home = contextvars.copy_context()
        self.home.run(OWNER.set, self)
        clock = SimClock(self)
        kind = LocalDispatcher if world.local else NetworkDispatcher
        dispatcher: Dispatcher = kind(self, clock)
        self.table = FaultyTable(self, world.base, transactions=world.transactions)
        self.engine = Engine(
            world.app,
            self.table,
            dispatcher,
            world.secret,
            clock=clock,
            # Another address than others have: what was recorded wins.
            settings=replace(world.settings, url=f"https://{name}.example", served=served),
            unique=world.unique,
            chance=random.Random(f"{name}/{world.settings.cached}"),
            threads=False,
        )
        shelf: Any = FaultyTable(self, world.archive, transactions=False)
        archive = Archive(lambda _: shelf)
        self.engine.services.keeping.archiving = archiving_of(archive, self.engine, world.secret)
        self.heart = HeartThread(self)
        heart = self.engine.services.heart
        heart._clock = HeartClock(self)
        self._beat, heart._beat = heart._beat, self._beat_apart  # type: ignore[method-assign]

    @property
    def deaf_until(self) -> float:
        """Until when it cannot hear of what others have done."""
        outage = self.world.chaos.outage or (0.0, 0.0)
        out = outage[1] if outage[0] <= self.world.seconds else 0.0
        own = (self.stalled_until, self.paused_until, self.heart_until, self.refused_until)
        return max(out, *own)

    @property
    def is_refused(self) -> bool:
        """Whether it alone cannot reach the store."""
        return self.world.seconds < self.refused_until

    async def _beat_apart(self) -> None:
        """Let the heart beat where it stands for a thread of its own."""
        context = self.home.copy()
        context.run(OWNER.set, self.heart)
        await self.world.loop.create_task(self._beat(), context=context)

    def open(self) -> None:
        """Begin to work."""
        self.home.run(self.engine.open)

    def spawn(self, work: Awaitable[T]) -> asyncio.Task[T]:
        """Start something in this process."""
        return self.home.copy().run(asyncio.ensure_future, _await(work))

    def die(self, why: str) -> None:
        """End here and now."""
        if not self.dead:
            self.dead = True
            self.world.loop.cut_off()
            self.death.set_result(None)
            self.world.died(why, self.name, self.served)

    async def close(self) -> None:
        """End in an orderly way, and be replaced."""
        self.world.trace(self.name, "closes", "", "")
        task = self.spawn(self.engine.close(grace=0.2))
        await asyncio.wait([task, self.death], timeout=30, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and task.exception() is not None:
            self.world.watch.fail(f"closing failed: {task.exception()!r}")
        self.die("closed")

    async def stall(self) -> None:
        """Stand still for long enough to lose what is held, perhaps."""
        self.stalled_until = self.world.seconds + self.world.chaos.stalls
        await self.lag(0.0)

    def pause(self) -> None:
        """Stop as a whole, as by SIGSTOP or a laptop's lid; nothing of it runs until it goes on."""
        self.pause_loop()
        self.heart.paused_until = self.paused_until

    def pause_loop(self) -> None:
        """Let the event loop stand still, as under code that hogs it; the heart beats on."""
        self.paused_until = self.world.seconds + self.world.chaos.stalls

    def refuse(self) -> None:
        """Lose the store for minutes, and nobody else does."""
        self.refused_until = self.world.seconds + self.world.chaos.refuse(self.world.seconds)

    def pause_heart(self) -> None:
        """Beat no more for a while, as when the heart's thread gets no turn."""
        self.heart_until = self.world.seconds + self.world.chaos.stalls

    async def block(self, *, blames: bool = True) -> None:
        """Hand over what it holds, as if one of its tasks or steps had blocked its loop, or none.

        Then end, or go on. (A body is left alone: its run would be stuck, rightly.)
        """
        services, chance = self.engine.services, self.world.random
        turns = services.turns.items()
        held = [*services.attempts, *((run, key) for run, turn in turns for key in turn.steps)]
        culprit = chance.choice([("", ""), *(held if blames else [])])
        block = Block(*culprit, "a line", None)
        self.world.trace(self.name, "hands over", " ".join(culprit), "")
        task = self.spawn(hand_over(services, block, "it blocked the event loop"))
        await asyncio.wait([task, self.death], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        if chance.random() < 0.5:
            self.die("its loop stayed blocked")

    async def lag(self, seconds: float) -> None:
        """What every call to the outside goes through, both ways."""
        if seconds:
            await asyncio.sleep(seconds)
        if (left := self.stalled_until - self.world.seconds) > 1e-6:  # what a loop can tell apart
            await asyncio.sleep(left)
            await self.lag(0.0)  # it may have been stalled again
        if self.dead:
            await for_ever()


class HeartThread:
    """The thread of a process in which its heart beats."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self.paused_until = 0.0

    @property
    def dead(self) -> bool:
        """It dies with its process."""
        return self._replica.dead

    @property
    def home(self) -> contextvars.Context:
        """Where what it calls home runs."""
        return self._replica.home


class SimClock:
    """A process's clock: off by a little, and perhaps by more after a jump."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica

    def now(self) -> Millis:
        return self._replica.world.true_now() + self._replica.offset

    async def sleep(self, duration: Millis) -> None:
        await asyncio.sleep(max(0, duration) / 1000)


class HeartClock(SimClock):
    """The clock that the heart sleeps by, which it oversleeps while it is paused."""

    async def sleep(self, duration: Millis) -> None:
        await super().sleep(duration)
        if (left := self._replica.heart_until - self._replica.world.seconds) > 0:
            await asyncio.sleep(left)


class LocalDispatcher(InProcessDispatcher):
    """The embedded dispatcher, with a queue that forgets and repeats."""

    def __init__(self, replica: Replica, clock: SimClock) -> None:
        super().__init__(clock)
        self._replica = replica
        self._sim_clock = clock

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        world = self._replica.world
        fault = await _before_dispatch(self._replica, invocations)
        now = self._sim_clock.now()
        for invocation in invocations:
            wait = 0 if invocation.not_before is None else max(0, invocation.not_before - now)
            delays = world.delays(wait / 1000)
            if delays == (wait / 1000,):
                await super().dispatch([invocation])
            else:
                for delay in delays:
                    world.loop.call_later(delay, self._start, invocation)
        await _after_dispatch(self._replica, fault)


class NetworkDispatcher:
    """Messages go to any process, this one among them."""

    local = False
    dead_letters = None

    def __init__(self, replica: Replica, clock: SimClock) -> None:
        self._replica = replica
        self._clock = clock
        self.reach: Millis = 900_000 if replica.world.queued else 0

    def open(self, handler: Handler) -> None:
        """The network knows everybody."""

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        fault = await _before_dispatch(self._replica, invocations)
        now = self._clock.now()
        for invocation in invocations:
            wait = 0 if invocation.not_before is None else max(0, invocation.not_before - now)
            self._replica.world.send(invocation, wait / 1000)
        await _after_dispatch(self._replica, fault)

    async def is_behind(self) -> bool:
        """Whatever is sent arrives."""
        return False

    async def flush(self) -> None:
        """What was dispatched is on its way."""

    async def close(self) -> None:
        """Nothing is kept here."""


async def _before_dispatch(replica: Replica, invocations: Sequence[Invocation]) -> str | None:
    if replica.dead:
        await for_ever()
    if not invocations:
        return None
    world = replica.world
    fault = world.chaos.of_call("dispatch", world.seconds)
    names = " ".join(f"{each.run}/{each.key}" for each in invocations)
    world.trace(replica.name, "dispatch", names, fault or "")
    if fault == STALL:
        await replica.stall()
    if fault == CRASH_BEFORE:
        await _die(replica)
    return fault


async def _after_dispatch(replica: Replica, fault: str | None) -> None:
    if fault == CRASH_AFTER:
        await _die(replica)


async def _die(replica: Replica) -> None:
    replica.die("a crash")
    await for_ever()


async def _await(work: Awaitable[T]) -> T:
    return await work

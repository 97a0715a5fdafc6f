"""Schedules under faults: replicas that die, stand still and have wrong clocks, a store that lies.

One schedule of a seed's making, whose runs take a while or none. In the end each nominal time that
was due has one run, or a reason why it has none; the runs are those of its nominal times; and
where runs may not overlap, none did. The faults stop before that, for long enough to catch up.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from unittest.mock import patch

from rewake import every, sleep, workflow
from rewake.app import App
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.logs.logs import capture
from rewake.engine.schedules import scheduler
from rewake.engine.settings import Settings
from rewake.errors import StoreUnavailable
from rewake.ledger import Became, Schedule
from rewake.records import Header, Millis
from rewake.schedules.definition import run_of_moment, times_of
from rewake.schedules.times import many
from rewake.signing.secret import Secret
from rewake.states import TERMINAL, RunState
from rewake.stores.ended import ended_at
from rewake.stores.memory import MemoryTable
from rewake.testing.clock import EPOCH
from rewake.testing.loop import VirtualLoop
from tests.simulation.simulate import quiet

SCHEDULES = "schedules under faults"
USES = ("begun", "cancelled", "passed over")
"""What is counted: runs, those that gave way to the next one, and times that have none."""
CALLS = ("get", "get_many", "put", "update", "query", "due", "delete")
HARM, CALM = 300.0, 400.0
"""Seconds in which things go wrong, and in which nothing does."""
SECRET = Secret("a secret of simulated schedules")


class Faulty:
    """A table that fails, lies, or never answers a process that has died."""

    def __init__(self, world: World, base: MemoryTable) -> None:
        self._world = world
        self._base = base
        self.dead = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._base, name)
        if name not in CALLS:
            return found

        async def call(*given: Any, **how: Any) -> Any:
            return await self._call(lambda: found(*given, **how))

        return call

    async def together(self, work: Callable[[], Awaitable[Any]]) -> Any:
        return await work()

    async def _call(self, call: Callable[[], Awaitable[Any]]) -> Any:
        fault = self._world.fault()
        if fault == "dies":
            self.dead = True
        if self.dead:
            await asyncio.Event().wait()
        if fault == "before":
            raise StoreUnavailable("it was not done")
        result = await call()
        if fault == "dies after":
            self.dead = True
            await asyncio.Event().wait()
        if fault == "stall":
            await asyncio.sleep(self._world.chance.uniform(1, 90))
        if fault == "told failed":
            raise StoreUnavailable("it was done")
        return result


class Clock:
    """A process's clock, which jumps."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.offset: Millis = 0

    def now(self) -> Millis:
        return EPOCH + int(self._world.loop.seconds * 1000 + 1e-6) + self.offset

    async def sleep(self, duration: Millis) -> None:
        await asyncio.sleep(max(0, duration) / 1000)


class World:
    """What one simulation has: a schedule, a table, and processes."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(f"schedules/{seed}")
        self.loop = VirtualLoop()
        self.table = MemoryTable()
        self.rate = self.chance.choice((0.0, 0.01, 0.03))
        self.budget = self.chance.randint(0, 12)
        self.jumps = self.chance.random() < 0.5
        begin = self.chance.uniform(5, HARM)
        self.outage = (begin, begin + self.chance.choice((0, 5, 60)))
        self.overlap = self.chance.choice(("allow", "skip", "queue", "queue", "cancel"))
        self.takes = self.chance.choice((0.0, 20.0, 90.0))
        self.period = self.chance.choice((13, 30, 61))
        self.catch_up = self.chance.choice((0, 60, 3_600))
        self.app = self._made_app()
        self.engines: list[tuple[Engine, Faulty, Clock]] = []
        self.faults = 0
        self.used = Counter[str]()
        self._count = itertools.count()

    def _made_app(self) -> App:
        takes = self.takes

        @workflow(
            schedule=every(
                self.period,
                name="s",
                overlap=self.overlap,
                catch_up=self.catch_up,
                jitter=self.chance.choice((0, self.period - 1)),
            )
        )
        async def body() -> None:
            if takes:
                await sleep(takes)

        app = App()
        app.add(body)
        return app

    @property
    def harms(self) -> bool:
        return self.loop.seconds < HARM

    def fault(self) -> str:
        """What goes wrong with a call, mostly nothing; in an outage, all."""
        if self.outage[0] <= self.loop.seconds < self.outage[1]:
            self.faults += 1
            return self.chance.choice(("before", "told failed"))
        if not self.harms or not self.budget or self.chance.random() >= self.rate:
            return ""
        self.budget -= 1
        self.faults += 1
        return self.chance.choice(("before", "told failed", "dies", "dies after", "stall"))

    def join(self) -> None:
        """One more process."""
        number = len(self.engines)
        table, clock = Faulty(self, self.table), Clock(self)
        clock.offset = self.chance.randint(-100, 100)
        engine = Engine(
            self.app,
            table,
            InProcessDispatcher(clock),
            SECRET,
            clock=clock,
            settings=Settings(sweep=2_000, lease=8_000),
            unique=lambda: f"{number:03x}{next(self._count):08x}",
            chance=random.Random(number),
            threads=False,
        )
        self.engines.append((engine, table, clock))
        engine.open()

    async def run(self) -> list[str]:
        """Play it. Returns what is broken."""
        for _ in range(self.chance.randint(1, 3)):
            self.join()
        while self.harms:
            await asyncio.sleep(self.chance.uniform(1, 40))
            alive = [each for each in self.engines if not each[1].dead]
            if self.jumps and alive and self.chance.random() < 0.3:
                # Nobody's clock is ahead by so much that the rest of the time is not enough.
                self.faults += 1
                self.chance.choice(alive)[2].offset = self.chance.choice((-60_000, 0, 40_000))
            if self.chance.random() < 0.1 and len(self.engines) < 9 and alive:
                self.faults += 1
                self.chance.choice(alive)[1].dead = True
            if not [each for each in self.engines if not each[1].dead]:
                await asyncio.sleep(self.chance.choice((0, 30, 200)))
                self.join()
        for _, table, clock in self.engines:
            clock.offset = 0
            table.dead = True
        self.join()
        await asyncio.sleep(CALM)
        engine = self.engines[-1][0]
        found = await engine.schedules.get("s")
        runs, _ = await engine.list(limit=2_000)
        broken = self.judge(found, runs)
        self._count_use(runs)
        await engine.close()
        return broken

    def judge(self, schedule: Schedule, runs: list[Header]) -> list[str]:
        """What is not as it should be."""
        now, times = EPOCH + int(self.loop.seconds * 1000), times_of(schedule)
        # By the clock of a process it may be a little later.
        named = {run_of_moment(schedule, at): at for at in many(times, EPOCH, now + 250, 10**6)}
        begun = {each.run for each in runs}
        broken = [f"{each} is of no time" for each in begun - named.keys()]
        for run, moment in named.items():
            passed = any(each.at <= moment < (each.until or each.at + 1) for each in SKIPPED)
            # What waits for the run before is none the worse for that; nor is what is due just now.
            waits = schedule.next is not None and moment >= schedule.next
            is_late = now - moment > 2 * self.period * 1000
            longest = self.takes + schedule.jitter / 1000
            # A line that was long after the mishaps is gone through slowly.
            in_line = self.overlap in ("queue", "cancel") and 2 * longest > self.period
            is_new = moment > schedule.created
            if (
                is_new
                and run not in begun
                and not passed
                and not (waits and (in_line or not is_late))
            ):
                broken.append(f"{run} is lost")
        if self.overlap != "allow":
            broken += self.overlapping(runs)
        return broken

    def _count_use(self, runs: list[Header]) -> None:
        """Note what of schedules was used, if something went wrong meanwhile."""
        if self.faults:
            passed = len({each.at for each in SKIPPED})
            cancelled = sum(each.state is RunState.CANCELLED for each in runs)
            self.used |= {"begun": len(runs), "cancelled": cancelled, "passed over": passed}

    def overlapping(self, runs: list[Header]) -> list[str]:
        """Runs that began before the one before had ended."""
        if self.jumps:
            return []  # their times are told by clocks that are wrong
        # In the order of their times, for the clocks of two processes differ a little.
        inorder = sorted(runs, key=lambda each: each.run)
        return [
            f"{later.run} began before {sooner.run} had ended"
            for sooner, later in itertools.pairwise(inorder)
            if sooner.state not in TERMINAL or ended_at(sooner) > later.created + 500
        ]


SKIPPED: list[Became] = []
"""All reasons that were written in the newest simulation."""


def simulate(seed: int) -> list[str]:
    """Simulate a schedule. Returns what is broken."""
    return played(seed)[0]


def played(seed: int) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Simulate a schedule. Returns what is broken, and what of `USES` has happened under faults."""
    SKIPPED.clear()
    world = World(seed)
    change = MemoryTable.update

    async def noting(table: MemoryTable, key: Any, **how: Any) -> Any:
        written = await change(table, key, **how)
        if isinstance(written.item, Schedule) and written.ok:
            SKIPPED[:] = [each for each in written.item.became if each.why]
        return written

    try:
        # Many may be passed over at once, and the judge has to hear of each.
        all_of_them = patch.object(scheduler, "KEPT", 10**6)
        with patch.object(MemoryTable, "update", noting), all_of_them, quiet():
            broken = world.loop.run_until_complete(world.run())
            return broken, Counter({(SCHEDULES, use): n for use, n in world.used.items()})
    finally:
        for engine, _, _ in world.engines:
            engine.services.cache.clear()
            if engine.services.home is not None:
                capture.close()
        world.loop.close()

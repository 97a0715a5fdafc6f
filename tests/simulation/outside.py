"""Everybody outside of the system."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from rewake.authoring.approval import Approval, Decision
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.errors import LinkExpired, RunConflict, RunNotFound, StoreError
from rewake.kinds import Kind
from rewake.records import LATEST, Scheduled
from rewake.states import RunState
from tests.simulation.calling import PASSING, Machine
from tests.simulation.case import Case
from tests.simulation.emitting import Readers
from tests.simulation.judge import Judge
from tests.simulation.kindred import forsaken
from tests.simulation.known import Run
from tests.simulation.pausing import Pauser, begins
from tests.simulation.removing import Keyed, Removing
from tests.simulation.repeating import Repeater
from tests.simulation.rings import Rings
from tests.simulation.signalling import Sender, waits_in
from tests.simulation.starters import Crowd
from tests.simulation.stating import miscounted
from tests.simulation.voting import Voters
from tests.simulation.world import Gone, Replica, World
from tests.simulation.writing import Writer

SLACK = 120.0
"""Virtual seconds, after the last fault, within which every run must have ended."""
BEATS = 200.0
"""And so many more beside a machine that beats: it takes longer to answer than it may be silent."""
WIDE = 180.0
"""And so many more if a program has groups in groups: that is a hundred attempts, one by one, some
of them three seconds after the one before."""
JUMP = 80.0
"""And so many more if clocks jump: a lease of a clock that was ahead has to run out."""
AHEAD = 3_600_000
"""How far ahead a clock may jump (ms): what waits for it to be caught up with ends too late."""
DRAIN = 30
"""Looks, after that, by which nothing may be due any more."""
KILL = "killed"
"""Why somebody kills a run."""
CALLS = 60_000
"""More calls than this, and something spins."""

HARMS: Mapping[str, Callable[[Replica], Any]] = {
    "crash": lambda it: it.die("a plug was pulled"),
    "stall": lambda it: it.world.spawn(it.stall()),
    "pause": Replica.pause,
    "heart": Replica.pause_heart,
    "loop": Replica.pause_loop,
    "close": lambda it: it.world.spawn(it.close()),
    "blocked": lambda it: it.world.spawn(it.block()),
    "released": lambda it: it.world.spawn(it.block(blames=False)),
    "outage": lambda it: it.world.chaos.break_down(it.world.seconds),
    "refused": Replica.refuse,
}
"""What happens to a process, but to its clock; an outage happens to all."""


_STANDING = (RunState.STUCK, RunState.FAILED)


class Outside:
    """Everybody who is no part of the system: who starts, approves, cancels, and pulls plugs."""

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._world = world
        self._judge = Judge(case, world)
        self._seen: set[tuple[str, str, int]] = set()
        self._going_on: set[str] = set()
        self._readers: dict[str, Readers] = {}
        self._copying: list[asyncio.Task[None]] = []
        self._crowd, self._rings = Crowd(case, world), Rings(case, world)
        beats = "beats" in str(case.programs)
        wide = any(str(each).count("parallel") > 1 for each, _ in case.programs.values())
        self._slack = SLACK + BEATS * beats + JUMP * world.jumpy + WIDE * wide
        world.on_change = self._changed

    async def run(self) -> None:
        """The whole simulation."""
        world = self._world
        if self._case.keyed:
            return await Keyed(self._case, world).run()
        world.open()
        for when, what in self._case.events:
            world.later(when, lambda what=what: self._event(what))  # type: ignore[misc]
        for when, served in self._case.joins:
            world.later(when, lambda served=served: world.add_replica(served))  # type: ignore[misc]
        self._begin()
        ended = await self._until_the_end()
        if ended:
            before = {name: run.header for name, run in world.watch.runs.items()}
            await self._until_nothing_is_due()
            for name, header in before.items():
                if world.watch.runs[name].header.state != header.state:
                    world.watch.fail(f"run {name}: its end changed")
            await self._judge_all()
            if self._case.keep is not None and not self._case.stuck and not world.watch.broken:
                await Removing(self._case, world).run()
        return None

    async def _judge_all(self) -> None:
        """Look at all that is left of the runs, and at what their readers were told."""
        watch = self._world.watch
        for wrong in forsaken(watch.runs):
            watch.fail(wrong)
        if not self._case.stuck and (left := watch.limits.left()):
            watch.fail(left)
        if wrong := await miscounted(self._world):
            watch.fail(wrong)
        for wrong in (*self._crowd.judge(), *self._rings.judge()):
            watch.fail(wrong)
        for name, run in watch.runs.items():
            if not watch.broken and run.header.state is not RunState.REMOVED:
                await self._judge.judge(run)
            if name in self._readers and not watch.broken:
                await self._readers[name].judge(watch.runs[name])

    def _begin(self) -> None:
        """Let people start the runs, and harm them."""
        world = self._world
        self._copying += [*self._crowd.begin(), *self._rings.begin()]
        for key, times in self._case.writes.items():
            self._copying.append(world.spawn(Writer(world, key).write(times)))
        for name in self._case.programs:
            if self._case.follows:
                self._readers[name] = Readers(world, name)
            for _ in range(1 + self._case.twice):
                world.spawn(self._start(name))
            for wait in waits_in(self._case.programs[name][0]):
                world.spawn(Sender(world, name, *wait, retries=self._case.retries).send())
            if name in self._case.cancels:
                world.spawn(self._cancel(name, self._case.cancels[name]))
            if name in self._case.kills:
                world.spawn(self._kill(name, self._case.kills[name]))
            if name in self._case.pauses:
                world.spawn(Pauser(world, name).run(self._case.pauses[name]))
            if name in self._case.copies:
                copying = Repeater(self._case, world, name).run(*self._case.copies[name])
                self._copying.append(world.spawn(copying))

    async def _until_the_end(self) -> bool:
        world, chaos = self._world, self._case.chaos
        while not world.watch.broken:
            runs = world.watch.runs
            begun = self._case.programs.keys() <= runs.keys()
            begun = begun and all(copying.done() for copying in self._copying)
            if begun and all(self._is_over(run) for run in runs.values()):
                return True
            late = world.seconds > max(chaos.last, 20.0) + self._slack
            if late and not self._set_clocks_right():
                world.watch.fail(f"not everything ended: {self._what_is_left()}")
            elif sum(chaos.calls.values()) > CALLS:
                world.watch.fail(f"something spins: {chaos.calls}")
            await asyncio.sleep(0.25)
        return False

    def _set_clocks_right(self) -> bool:
        """Set the clocks right that are wrong, and return whether there were any.

        Who is an hour ahead offers work to others by its own clock: they begin it in an hour.
        """
        world = self._world
        if world.clocks_agree():
            return False
        for replica in world.alive():
            replica.offset = 0
        world.chaos.count("process", "right", world.seconds)
        return True

    def _is_over(self, run: Run) -> bool:
        """Whether a run has ended, and nobody will let it go on."""
        state, case = run.header.state, self._case
        resumed = (state is RunState.STUCK and case.resumes) or (
            state is RunState.FAILED and case.retries
        )
        return (run.over or state is RunState.STUCK) and not resumed

    async def _until_nothing_is_due(self) -> None:
        world = self._world
        for _ in range(DRAIN):
            await asyncio.sleep(4 + world.refused_for())
            due = [await world.base.due(LATEST, limit=1, tag=tag) for tag in world.tags]
            if world.alive() and not any(due):
                return

    def _what_is_left(self) -> str:
        left = []
        for name, run in self._world.watch.runs.items():
            if not run.over:
                header = run.header
                left.append(
                    f"{name} {header.state} gap={header.gap} due={header.due} wake={header.wake} "
                    f"lease={header.lease} strikes={header.strikes} error={header.error!r} "
                    f"open={list(run.open)} now={self._world.true_now()}"
                )
        return "; ".join(left) or "nothing began"

    # --- what people do --------------------------------------------------------------------

    async def _start(self, name: str) -> None:
        program, _ = self._case.programs[name]
        workflow, given = self._case.workflow, {"program": program}
        await self._world.insist(
            lambda e: e.start(workflow, given, run=name, at=begins(self._case, name, e)), StoreError
        )

    async def _cancel(self, name: str, after: float) -> None:
        await asyncio.sleep(after)
        stubborn = self._case.insists and self._world.random.random() < 0.7
        left = 1 + self._case.repeats
        while left:
            try:
                self._judge.asked[name] += 1
                await self._world.ask(lambda engine: engine.cancel(name, "enough"))
                self._case.chaos.note("again" if name in self._judge.cancelled else "cancel")
                self._judge.cancelled.add(name)
                left -= 1
            except RunConflict:
                return
            except Gone:
                if not stubborn:
                    return
            except (StoreError, RunNotFound):
                pass
            await asyncio.sleep(0.5)

    async def _kill(self, name: str, after: float) -> None:
        await asyncio.sleep(after)
        sure = True
        while True:
            try:
                await self._world.ask(lambda engine: engine.kill(name, KILL))
                self._case.chaos.note("kill")
                self._judge.killed.add(name)
                return
            except RunConflict:
                if sure and self._world.watch.runs[name].header.cancel == KILL:
                    self._world.watch.fail(f"run {name}: who killed it was told that it was over")
                return
            except (StoreError, Gone):
                sure = False
            except RunNotFound:
                pass
            await asyncio.sleep(0.5)

    def _changed(self, run: Run) -> None:
        name = run.header.run
        for key, asked in run.open.items():
            if asked.kind is Kind.APPROVAL and (name, key, asked.round) not in self._seen:
                self._seen.add((name, key, asked.round))
                if asked.name.startswith("several-"):
                    Voters(self._world, self._judge, name, asked).vote()
                else:
                    self._world.spawn(self._decide(name, key, asked))
            elif asked.kind is Kind.CALLBACK and (name, key, asked.round) not in self._seen:
                self._seen.add((name, key, asked.round))
                self._world.spawn(Machine(self._world, self._judge, name, asked).call())
        if run.header.state is RunState.STUCK:
            if not run.header.error.startswith("StuckError: its process died"):
                self._world.watch.fail(f"run {name} is stuck: {run.header.error}")
            elif self._case.resumes:
                self._world.spawn(self._go_on(name, lambda engine: engine.resume(name)))
        elif run.header.state is RunState.FAILED and self._case.retries:
            retry = lambda engine: engine.retry(name, discard_cleanup=True)  # noqa: E731
            self._world.spawn(self._go_on(name, retry))

    async def _go_on(self, name: str, ask: Callable[[Engine], Awaitable[Any]]) -> None:
        """Let it go on, as often as it must. Nobody else does, so a refusal at once is wrong."""
        if name in self._going_on:
            return
        self._going_on.add(name)
        sure, runs = True, self._world.watch.runs
        while not self._world.watch.broken and runs[name].header.state in _STANDING:
            await asyncio.sleep(self._world.random.choice((0.1, 0.7, 3.0)))
            try:
                await self._world.ask(ask)
                self._world.chaos.count("people", "go on", self._world.seconds)
                sure = True
            except RunConflict as error:
                if sure and name not in self._case.kills:
                    self._world.watch.fail(f"run {name} may go on, and that was refused: {error}")
            except (StoreError, Gone):
                sure = False
        self._going_on.discard(name)

    async def _decide(self, name: str, key: str, asked: Scheduled) -> None:
        plan, _, value = asked.name.partition("-")
        chance = self._world.random
        if plan == "never":
            return
        if plan == "edge" and asked.due is not None:
            left = (asked.due - self._world.true_now()) / 1000
            early = chance.choice((0.3, 0.05, 0.001, 0, -0.002, -0.1))
            await asyncio.sleep(max(0.0, left - early))
        else:
            await asyncio.sleep(chance.choice((0.0, 0.001, 0.05, 1.0, 4.0)))
        decision = Decision.REJECTED if plan == "no" else Decision.APPROVED
        answer = Approval(decision, value if plan == "yes" else None)
        try:
            await self._world.insist(lambda e: Approvals(e).decide(name, key, answer), *PASSING)
        except (RunConflict, LinkExpired) as error:
            self._world.trace("--", "refused", f"{name} {key}", str(error))
        else:
            self._judge.approved.add((name, key))

    def _event(self, what: str) -> None:
        world = self._world
        alive = world.alive()
        if not alive:
            return
        what, _, holder = what.partition(" ")
        replica: Replica = world.random.choice(alive)
        if holder:
            replica = world.watch.worker() or replica
        world.trace(replica.name, "suffers", what, "")
        world.chaos.count("process", what, world.seconds)
        if what in HARMS:
            HARMS[what](replica)
        else:
            replica.offset = self._offset(what)

    def _offset(self, what: str) -> int:
        """How far the clock of a process is ahead, after this happened to it."""
        half, chance = self._case.settings.skew // 2, self._world.random
        match what:
            case "skew":
                return chance.randint(-half, half)
            case "jump":
                # A deadline of an approval stays where it is, and would be an hour late.
                waits = any(
                    kind in str(self._case.programs)
                    for kind in ("approve", "edge", "call", "several")
                )
                far = 40_000 if waits else AHEAD
                return chance.choice((-60_000, -20_000, -7_000, 7_000, far))
        return {"ahead": AHEAD, "right": 0}[what]

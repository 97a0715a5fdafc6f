"""One simulation: draw a program and faults from a seed, let the world run, and judge it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rewake.app import App
from rewake.authoring.approval import Approval, Decision
from rewake.engine.engine import Engine
from rewake.engine.program import new_execution
from rewake.engine.settings import Settings
from rewake.errors import RunConflict, StoreError
from rewake.records import (
    Completed,
    Finished,
    Kind,
    Outcome,
    OutcomeKind,
    RunState,
    Scheduled,
)
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.results import History
from rewake.stores.sqlite import SqliteTable
from rewake.stores.table import Table
from rewake.values import decode
from tests.simulation import programs
from tests.simulation.faults import Chaos, calm, chaos_of
from tests.simulation.generate import Err, Generator, settled, strip
from tests.simulation.loop import SimLoop, Spinning
from tests.simulation.watch import Run
from tests.simulation.world import EPOCH, SECRET, Gone, Replica, World

SLACK = 240.0
"""Virtual seconds, after the last fault, within which every run must have ended."""
DRAIN = 30
"""Looks, after that, by which nothing may be due any more."""
CALLS = 60_000
"""More calls than this, and something spins."""
APP = App(programs)


@dataclass
class Case:
    """What one simulation is: the right end of each run's program, and what goes wrong."""

    seed: int
    store: str
    programs: dict[str, tuple[list[Any], Any]]
    chaos: Chaos
    settings: Settings
    local: bool = False
    replicas: int = 2
    jumpy: bool = False
    cancels: dict[str, float] = field(default_factory=dict)
    events: list[tuple[float, str]] = field(default_factory=list)
    workflow: str = "main"
    twice: bool = False
    insists: bool = True
    stuck: frozenset[str] = frozenset()
    resumes: bool = False
    lag: int = 0


@dataclass
class Verdict:
    """How a simulation went. `broken` is empty if every promise was kept."""

    seed: int
    store: str
    broken: list[str]
    fired: Counter[tuple[str, str]]
    digest: str
    trace: list[str]
    seconds: float
    crashes: int
    calls: int
    states: dict[str, RunState]


def case_of(seed: int, store: str, *, faults: bool = True) -> Case:
    """The simulation of this seed."""
    chance = random.Random(f"case/{seed}")
    generator = Generator(random.Random(f"program/{seed}"))
    names = ["r1"] if chance.random() < 0.8 else ["r1", "r2"]
    big = chance.random() < 0.2
    bounded = chance.random() < 0.04
    drawn = {
        name: generator.endless() if bounded else generator.program(big=big) for name in names
    }
    settings = Settings(
        cached=chance.choice((0, 0, 1, 256)),
        horizon=chance.choice((0, 500, 2500)),
        tasks=chance.choice((3, 100)),
        # What limits deaths has scenarios of its own.
        strikes=1000,
        lost=1000,
    )
    case = Case(
        seed,
        store,
        {name: (node, settled(value)) for name, (node, value) in drawn.items()},
        chaos_of(chance, transactions=store == "sqlite", big=big) if faults else calm(seed),
        settings,
        local=chance.random() < 0.4,
        replicas=chance.choice((1, 2, 3)),
    )
    case.workflow = "bounded" if bounded else "main"
    case.twice = chance.random() < 0.2
    case.lag = chance.choice((0, 0, 300))
    if faults:
        case.jumpy = chance.random() < 0.15
        if chance.random() < 0.15:
            case.cancels = {name: chance.uniform(0, 8) for name in names}
        kinds = ["crash", "crash", "stall", "close", "skew"] + ["jump"] * case.jumpy
        for _ in range(chance.choice((0, 0, 1, 2, 4)) + case.jumpy):
            case.events.append((chance.uniform(0, 15), chance.choice(kinds)))
    return case


def simulate(case: Case) -> Verdict:
    """Let it happen."""
    with table_of(case) as (base, loop), quiet() as errors:
        world = World(
            loop,
            APP,
            base,
            case.chaos,
            settings=case.settings,
            seed=case.seed,
            local=case.local,
            replicas=case.replicas,
            transactions=case.store == "sqlite",
            jumpy=case.jumpy,
        )
        outside = Outside(case, world)
        try:
            asyncio.set_event_loop(loop)
            programs.WORLD.append(world)
            loop.run_until_complete(outside.run())
        except Spinning:
            world.watch.fail("something spins, and time stands still")
        finally:
            asyncio.set_event_loop(None)
            programs.WORLD.clear()
            world.close()
            loop.run_until_complete(base.close())
            loop.close()
    broken = [*world.watch.broken, *(f"logged: {error}" for error in errors)]
    states = {name: run.header.state for name, run in world.watch.runs.items()}
    return Verdict(
        case.seed,
        case.store,
        broken,
        case.chaos.fired,
        world.digest(),
        world.lines,
        loop.seconds,
        world.crashes,
        sum(case.chaos.calls.values()),
        states,
    )


@contextlib.contextmanager
def table_of(case: Case) -> Iterator[tuple[Table, SimLoop]]:
    """A loop, and the table that everything of this simulation shares."""
    loop = SimLoop()
    if case.store == "memory":
        yield MemoryTable(now=lambda: EPOCH + int(loop.seconds * 1000), lag=case.lag), loop
        return
    folder = tempfile.mkdtemp(dir=_RAM)
    table = SqliteTable(Path(folder) / "db", threaded=False, durable=False)
    try:
        yield table, loop
    finally:
        shutil.rmtree(folder)


_RAM = "/dev/shm" if Path("/dev/shm").is_dir() else None


@contextlib.contextmanager
def quiet() -> Iterator[list[str]]:
    """Keep the engine's log to itself; what it calls an error is collected."""
    errors: list[str] = []
    expected = ("is stuck", "has no task")

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message = record.getMessage()
            if not any(each in message for each in expected):
                error = record.exc_info[1] if record.exc_info else None
                errors.append(f"{message} ({error!r})")

    logger = logging.getLogger("rewake")
    handler = Collect(logging.ERROR)
    before = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield errors
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        logger.propagate = before[1]


class Outside:
    """Everybody who is no part of the system: who starts, approves, cancels, and pulls plugs."""

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._world = world
        self._seen: set[tuple[str, str]] = set()
        self._approved: set[tuple[str, str]] = set()
        self._cancelled: set[str] = set()
        self._stuck: Counter[str] = Counter()
        world.on_change = self._changed

    async def run(self) -> None:
        """The whole simulation."""
        world = self._world
        world.open()
        for when, what in self._case.events:
            world.later(when, lambda what=what: self._event(what))  # type: ignore[misc]
        for name in self._case.programs:
            for _ in range(1 + self._case.twice):
                world.spawn(self._start(name))
            if name in self._case.cancels:
                world.spawn(self._cancel(name, self._case.cancels[name]))
        ended = await self._until_the_end()
        if ended:
            before = {name: run.header for name, run in world.watch.runs.items()}
            await self._until_nothing_is_due()
            for name, header in before.items():
                if world.watch.runs[name].header.state != header.state:
                    world.watch.fail(f"run {name}: its end changed")
            for name in self._case.programs:
                if not world.watch.broken:
                    await self._judge(world.watch.runs[name])

    async def _until_the_end(self) -> bool:
        world, chaos = self._world, self._case.chaos
        while not world.watch.broken:
            runs = world.watch.runs
            if len(runs) == len(self._case.programs) and all(
                run.over or (run.header.state is RunState.STUCK and not self._case.resumes)
                for run in runs.values()
            ):
                return True
            if world.seconds > max(chaos.last, *(when for when, _ in self._case.events), 20) + SLACK:
                world.watch.fail(f"not everything ended: {self._what_is_left()}")
            elif sum(chaos.calls.values()) > CALLS:
                world.watch.fail(f"something spins: {chaos.calls}")
            await asyncio.sleep(0.25)
        return False

    async def _until_nothing_is_due(self) -> None:
        for _ in range(DRAIN):
            await asyncio.sleep(4)
            if self._world.alive() and not await self._world.base.due(2**53, limit=1):
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
        given = {"program": program}
        await self._world.insist(lambda e: e.start(self._case.workflow, given, run=name), StoreError)

    async def _cancel(self, name: str, after: float) -> None:
        await asyncio.sleep(after)
        stubborn = self._case.insists and self._world.random.random() < 0.7
        while True:
            try:
                await self._world.ask(lambda engine: engine.cancel(name, "enough"))
                self._cancelled.add(name)
                return
            except RunConflict:
                return
            except Exception as error:
                if not isinstance(error, Gone | StoreError) and "there is no run" not in str(error):
                    raise
                if not stubborn and isinstance(error, Gone):
                    return
            await asyncio.sleep(0.5)

    def _changed(self, run: Run) -> None:
        name = run.header.run
        for key, asked in run.open.items():
            if asked.kind is Kind.APPROVAL and (name, key) not in self._seen:
                self._seen.add((name, key))
                self._world.spawn(self._decide(name, key, asked))
        if run.header.state is RunState.STUCK:
            self._stuck[name] += 1
            if not run.header.error.startswith("StuckError: its process died"):
                self._world.watch.fail(f"run {name} is stuck: {run.header.error}")
            elif self._case.resumes:
                self._world.spawn(self._resume(name))

    async def _resume(self, name: str) -> None:
        await asyncio.sleep(1)
        with contextlib.suppress(RunConflict):
            await self._world.insist(lambda engine: engine.resume(name), StoreError)

    async def _decide(self, name: str, key: str, asked: Scheduled) -> None:
        plan, _, value = asked.name.partition("-")
        chance = self._world.random
        if plan == "never":
            return
        if plan == "edge" and asked.due is not None:
            left = (asked.due - self._world.true_now()) / 1000
            await asyncio.sleep(max(0.0, left + chance.choice((-0.3, -0.05, -0.001, 0, 0.002, 0.1))))
        else:
            await asyncio.sleep(chance.choice((0.0, 0.001, 0.05, 1.0, 4.0)))
        decision = Decision.REJECTED if plan == "no" else Decision.APPROVED
        answer = Approval(decision, value if plan == "yes" else None)
        try:
            await self._world.insist(lambda e: e.decide(name, key, answer), StoreError)
        except RunConflict as error:
            self._world.trace("--", "refused", f"{name} {key}", str(error))
        else:
            self._approved.add((name, key))

    def _event(self, what: str) -> None:
        world = self._world
        alive = world.alive()
        if not alive:
            return
        replica: Replica = world.random.choice(alive)
        world.trace(replica.name, "suffers", what, "")
        world.chaos.count("process", what, world.seconds)
        half = self._case.settings.skew // 2
        match what:
            case "crash":
                replica.die("a plug was pulled")
            case "stall":
                world.spawn(replica.stall())
            case "close":
                world.spawn(replica.close())
            case "skew":
                replica.offset = world.random.randint(-half, half)
            case "jump":
                replica.offset = world.random.choice((-60_000, -7_000, 7_000, 40_000))

    # --- the judgement -----------------------------------------------------------------------

    async def _judge(self, run: Run) -> None:
        world, name = self._world, run.header.run
        if run.header.state is RunState.STUCK:
            if name not in self._case.stuck:
                world.watch.fail(f"run {name} is stuck: {run.header.error}")
            return None
        history = await Store(world.base, token=world.token).history(run.header)
        if name in self._case.stuck:
            world.watch.fail(f"run {name} should be stuck, and is {run.header.state}")
        if not isinstance(run.entries[-1], Finished):
            return world.watch.fail(f"run {name}: its history has no end")
        self._judge_replay(run, history)
        self._judge_end(run, _end_of(history))
        self._judge_operations(run, history.operations)
        left = [due for due in await world.base.due(2**53, limit=50) if name in due.key.partition]
        if left:
            world.watch.fail(f"run {name} is over, and still due: {left}")
        return None

    def _judge_replay(self, run: Run, history: History) -> None:
        """A cold replay of what was recorded is a fixed point."""
        header, fail, end = run.header, self._world.watch.fail, _end_of(history)
        programs.WORLD.clear()
        execution = new_execution(APP, header.workflow, header.run, header.seed, SECRET)
        try:
            execution.replay(history.entries, history.outcomes())
            if execution.error is not None:
                fail(f"run {header.run}: its history does not replay: {execution.error}")
            elif execution.fresh:
                fail(f"run {header.run}: its replay goes on: {execution.fresh}")
            elif execution.finished is None or (
                _plain(execution.finished, header.run) != _plain(end, header.run)
            ):
                fail(f"run {header.run}: its replay ends as {execution.finished}, not {end}")
        finally:
            execution.drop()

    def _judge_end(self, run: Run, outcome: Outcome) -> None:
        name, fail = run.header.run, self._world.watch.fail
        _, right = self._case.programs[name]
        if run.cancelled and outcome.kind is OutcomeKind.CANCELLED:
            if name not in self._case.cancels:
                fail(f"run {name} was cancelled by nobody")
            return None
        if name in self._cancelled and not run.cancelled:
            return fail(f"run {name}: its cancellation was accepted, and ignored")
        if run.cancelled:
            return None  # it came too late for what was left, or Python swallowed it
        if isinstance(right, Err) and right.name == "timeout":
            if outcome.kind is not OutcomeKind.TIMEOUT:
                fail(f"run {name}: it ended as {outcome}, instead of running out of time")
        elif isinstance(right, Err):
            told = "" if outcome.failure is None else outcome.failure.traceback
            if outcome.kind is not OutcomeKind.ERROR or f"boom {right.name}" not in told:
                fail(f"run {name}: it ended as {outcome}, instead of failing with {right.name}")
        elif outcome.kind is not OutcomeKind.OK:
            fail(f"run {name}: it ended as {outcome}, instead of with {right}")
        elif (result := strip(_plain(outcome, name))) != right:
            fail(f"run {name}: it came to {result}, instead of {right}")
        return None

    def _judge_operations(self, run: Run, operations: dict[str, Any]) -> None:
        world, name = self._world, run.header.run
        for key, item in operations.items():
            if run.operations[key].at != item.at:
                world.watch.fail(f"run {name}: {key} changed unseen")
        for entry in run.entries:
            if isinstance(entry, Completed) and operations[entry.key].outcome is None:
                world.watch.fail(f"run {name}: {entry.key} was observed and has no outcome")
            if isinstance(entry, Scheduled):
                begun = world.begun[name, entry.key]
                once = entry.kind is Kind.STEP and self._is_once(name, entry.key)
                if once and begun > 1:
                    world.watch.fail(f"run {name}: {entry.key} began {begun} times, not at most once")
                if entry.kind is Kind.TASK and begun > run.claims[entry.key]:
                    world.watch.fail(f"run {name}: {entry.key} began more often than it was claimed")
        for who, key in self._approved:
            outcome = operations[key].outcome if who == name else None
            if outcome is not None and outcome.kind is not OutcomeKind.OK:
                world.watch.fail(f"run {name}: {key} was decided, and is recorded as {outcome.kind}")

    def _is_once(self, name: str, key: str) -> bool:
        program, _ = self._case.programs[name]
        return key.rpartition("/")[2].partition(".")[0] in _once(program)


def _once(node: Any) -> set[str]:
    """The names of the steps that must begin at most once."""
    if not isinstance(node, list):
        return set()
    if node[:1] == ["step"] and node[2].get("once"):
        return {node[1]}
    return set().union(*map(_once, node))


def _plain(outcome: Outcome, run: str) -> Any:
    """An outcome as something to compare: its value, or how it failed."""
    if outcome.value is None:
        return (outcome.kind, outcome.failure and (outcome.failure.type, outcome.failure.message))
    return decode(outcome.value, secret=SECRET, run=run, key="", purpose="output")


def _end_of(history: History) -> Outcome:
    last = history.entries[-1]
    assert isinstance(last, Finished)
    return last.outcome


def run_seed(seed: int, store: str) -> Verdict:
    """The simulation of one seed."""
    return simulate(case_of(seed, store))


__all__ = ["Case", "Engine", "Verdict", "case_of", "run_seed", "simulate", "sys"]

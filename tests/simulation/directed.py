"""For tests that say exactly what happens when: two processes, and a hand on every call.

A test is a coroutine that is given a `Stage`; everything outside it happens in virtual time.
"""

from __future__ import annotations

import asyncio
import operator
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest

from rewake.authoring.approval import Approval, Decision
from rewake.engine.engine import Engine
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.signals import Signals
from rewake.engine.settings import Settings
from rewake.kinds import OutcomeKind
from rewake.records import Header, Operation, Outcome
from rewake.states import RunState
from rewake.values.codecs import decode
from tests.simulation import programs
from tests.simulation.case import Case
from tests.simulation.faults import LOST, Chaos
from tests.simulation.generate import strip
from tests.simulation.simulate import APP, quiet, table_of
from tests.simulation.world import SECRET, Replica, World

T = TypeVar("T")
Script = Callable[["Stage"], Coroutine[Any, Any, None]]
both = pytest.mark.parametrize("store", ["memory", "sqlite"])
LEASE = 5.0 + 1.5
"""Seconds until somebody else has noticed that a holder died, at the latest."""
GRACE = 4.0 + 1.5
"""Seconds until somebody has noticed that a message was lost, at the latest."""


class Gate:
    """Where a process was stopped: `reached` when it is there; it goes on after `release`."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._open = asyncio.Event()

    async def wait_here(self) -> None:
        """For the process."""
        self.reached.set()
        await self._open.wait()

    def release(self) -> None:
        """Let it go on."""
        self._open.set()


class Planned(Chaos):
    """The faults that a test asks for, of the next calls that match; `deaf`: messages are lost."""

    def __init__(self) -> None:
        super().__init__(random.Random(0))
        self.asked: list[tuple[str, str, str]] = []
        self.deaf = False

    def of_call(
        self,
        call: str,
        now: float,
        *,
        letter: str = "",
        can_stall: bool = True,
        refused: bool = False,
    ) -> str | None:
        fault = super().of_call(call, now, letter=letter, refused=refused)
        if fault is not None:
            return fault
        if self.asked and (call, letter) == self.asked[0][:2]:
            fault = self.asked.pop(0)[2]
            self.count(call, fault, now)
            return fault
        return None

    def of_message(self, now: float) -> str | None:
        return LOST if self.deaf else None


class Stage:
    """Two processes, `p1` and `p2`; all messages go to `p1` while it lives. The run is `r1`."""

    def __init__(self, world: World, chaos: Planned) -> None:
        self.world = world
        self.chaos = chaos
        world.replaces = False
        world.open()
        self.p1, self.p2 = world.replicas
        world.favourite = self.p1

    # --- what the test does ----------------------------------------------------------------

    async def start(self, program: list[Any]) -> None:
        """Start the run, on p1."""
        await self.ask(self.p1, lambda engine: engine.start("main", {"program": program}, run="r1"))

    async def ask(self, replica: Replica, act: Callable[[Engine], Awaitable[T]]) -> T:
        """Ask one process for something."""
        return await replica.spawn(act(replica.engine))

    async def decide(self, replica: Replica, key: str, run: str = "r1") -> None:
        """Approve, by way of one process."""
        await self.ask(
            replica, lambda e: Approvals(e).decide(run, key, Approval(Decision.APPROVED))
        )

    async def signal(self, replica: Replica, name: str, value: int) -> None:
        """Send the run a signal, by way of one process."""
        await self.ask(replica, lambda e: Signals(e).send("r1", name, value, id=f"{name}/{value}"))

    def hold(
        self, replica: Replica, method: str, *, after: bool = False, always: bool = False
    ) -> Gate:
        """Stop the process when it next calls this method of its store, or before it returns.

        `always`: stop every call until the gate is opened.
        """
        gate, store = Gate(), replica.engine._store
        original = getattr(store, method)

        async def held(*args: Any, **named: Any) -> Any:
            if not always:
                setattr(store, method, original)
            if after:
                result = await original(*args, **named)
                await gate.wait_here()
                return result
            await gate.wait_here()
            return await original(*args, **named)

        setattr(store, method, held)
        self.chaos.count("process", "held", self.world.seconds)
        return gate

    def hold_header(self, replica: Replica, method: str) -> Gate:
        """Stop the process in this method, after its bodies are written, before the header is."""
        gate, store = Gate(), replica.engine._store
        original = getattr(store, method)

        async def at(call: str, letter: str) -> None:
            if call == "together" or (call, letter) == ("update", "H"):
                replica.table.gate = None
                await gate.wait_here()

        async def armed(*args: Any, **named: Any) -> Any:
            setattr(store, method, original)
            replica.table.gate = at
            return await original(*args, **named)

        setattr(store, method, armed)
        self.chaos.count("process", "held", self.world.seconds)
        return gate

    def fault(self, replica: Replica, method: str, *faults: tuple[str, str, str]) -> None:
        """When the process next calls this method, let these (call, item, fault) happen in it."""
        part, _, name = method.rpartition(".")
        store = operator.attrgetter(part)(replica.engine._store) if part else replica.engine._store
        original = getattr(store, name)

        async def armed(*args: Any, **named: Any) -> Any:
            setattr(store, name, original)
            self.chaos.asked = list(faults)
            return await original(*args, **named)

        setattr(store, name, armed)

    def add(self) -> Replica:
        """Start another process."""
        return self.world.add_replica()

    async def within(self, seconds: float, true: Callable[[], bool], what: str = "it") -> None:
        """Wait until something is true; fail if that takes longer."""
        end = self.world.seconds + seconds
        while not true():
            assert self.world.seconds < end, f"{what} did not happen: {self.world.lines[-30:]}"
            assert not self.world.watch.broken, self.world.watch.broken
            await asyncio.sleep(0.01)

    # --- what the test sees ----------------------------------------------------------------

    @property
    def header(self) -> Header:
        """The run's header, as it is stored."""
        return self.world.watch.runs["r1"].header

    def operation(self, key: str) -> Operation | None:
        """An operation's item, as it is stored."""
        return self.world.watch.runs["r1"].operations.get(key)

    def is_over(self) -> bool:
        """Whether the run has ended."""
        runs = self.world.watch.runs
        return "r1" in runs and runs["r1"].over

    def begun(self, key: str) -> int:
        """How often a body began."""
        return self.world.begun["r1", key]

    async def result(self) -> Any:
        """What the run came to."""
        live = next(replica for replica in self.world.alive())
        outcome: Outcome | None = await self.ask(live, lambda engine: engine.result("r1"))
        assert outcome is not None
        assert outcome.value is not None, outcome
        return strip(decode(outcome.value, secret=SECRET, run="r1", key="", purpose="output"))


def play(store: str, script: Script, *, settings: Settings | None = None) -> None:
    """Run a directed test on this kind of table, and look at all that was written meanwhile."""
    chaos = Planned()
    case = Case(0, store, {}, chaos, settings or Settings(), replicas=2)
    with table_of(case) as (base, loop), quiet() as errors:
        world = World(
            loop,
            APP,
            base,
            chaos,
            settings=case.settings,
            seed=0,
            local=False,
            replicas=2,
            transactions=store == "sqlite",
        )

        async def run() -> None:
            await asyncio.wait_for(script(Stage(world, chaos)), 600)

        try:
            asyncio.set_event_loop(loop)
            programs.WORLD.append(world)
            loop.run_until_complete(run())
            assert not world.watch.broken, world.watch.broken
            assert not errors, errors
        finally:
            asyncio.set_event_loop(None)
            programs.WORLD.clear()
            world.close()
            loop.run_until_complete(base.close())
            loop.close()


def directed(script: Script) -> Callable[[str], None]:
    """A test of what the coroutine directs, on each table."""

    def run(store: str) -> None:
        play(store, script)

    run.__name__, run.__doc__ = script.__name__, script.__doc__
    return both(run)


def is_open(stage: Stage, key: str) -> Callable[[], bool]:
    """Whether the history asks for this operation, and has not seen its outcome."""
    return lambda: "r1" in stage.world.watch.runs and key in stage.world.watch.runs["r1"].open


def waits_for(stage: Stage, key: str) -> Callable[[], bool]:
    """Whether the run is parked and waits for this operation."""
    return lambda: is_open(stage, key)() and stage.header.state is RunState.PARKED


def outcome_of(stage: Stage, key: str) -> OutcomeKind | None:
    """How an operation ended, as it is stored."""
    operation = stage.operation(key)
    return None if operation is None or operation.outcome is None else operation.outcome.kind

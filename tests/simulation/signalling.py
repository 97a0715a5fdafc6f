"""Signals: programs that wait for them, drawn apart, and who sends them.

How they are sent is in the name of the wait, `PLAN-VALUE`:

    line    some in turn, each once the one before was acknowledged, from before the run waits on
    twice   the same, each sent twice by its id, at the same moment by two processes
    late    the first when the run waits for it for long
    ask     updates, of which each is answered, and asked about again
    edge    one, at about the time at which the wait for it is over
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rewake.engine.engine import Engine
from rewake.engine.outside.signals import Signals
from rewake.errors import RunConflict, RunNotFound, StoreError
from rewake.states import RunState
from tests.simulation.generate import Drawn, Err
from tests.simulation.world import Gone, World

if TYPE_CHECKING:
    from tests.simulation.known import Run

PLANS = ("line", "line", "twice", "late", "ask", "edge")
EDGE = 3


def with_signals(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, beside or behind one or two that wait for signals."""
    program, right = drawn
    for number in range(chance.randint(1, 2)):
        plan, count = chance.choice(PLANS), chance.randint(1, 4)
        name = f"{plan}-s{number}"
        kind = chance.choice((["seq"], ["gather", False]))
        program = [*kind, ["hear", name, count], program]
        value: Any = "~" if plan == "edge" else ["heard", name, list(range(count))]
        right = right if isinstance(right, Err) else [value, right]
    return program, right


def waits_in(program: Any) -> Iterator[tuple[str, int]]:
    """The waits for signals in a program: their names, and for how many."""
    match program:
        case ["hear", str() as name, int() as count]:
            yield name, count
        case ["laps", int() as laps, *parts]:
            yield from ((name, count * laps) for name, count in waits_in(parts))
        case list():
            for part in program:
                yield from waits_in(part)
        case dict():
            for part in program.values():
                yield from waits_in(part)


class Sender:
    """Who sends a run what one of its waits waits for."""

    def __init__(
        self, world: World, run: str, name: str, count: int, *, retries: bool = False
    ) -> None:
        self._world = world
        self._retries = retries
        self._run = run
        self._name = name
        self._count = count
        self._plan = name.partition("-")[0]

    async def send(self) -> None:
        """Do as its plan says, until the run is over."""
        chance = self._world.random
        if self._plan == "late":
            await asyncio.sleep(chance.choice((3.0, 9.0)))
        if self._plan == "edge":
            await asyncio.sleep(EDGE + chance.choice((-0.2, -0.01, 0, 0.01, 0.2, 1.0)))
        for number in range(self._count):
            await asyncio.sleep(chance.choice((0.0, 0.0, 0.02, 0.7)))
            times = 2 if self._plan == "twice" else 1
            sent = await asyncio.gather(*(self._one(number) for _ in range(times)))
            if not all(sent) or (self._plan == "ask" and not await self._is_answered(number)):
                return

    async def _one(self, number: int) -> bool:
        async def act(engine: Engine) -> bool:
            await Signals(engine).send(self._run, self._name, number, id=f"{self._name}/{number}")
            return True

        return await self._insist(act)

    async def _is_answered(self, number: int) -> bool:
        signal, world = f"{self._name}/{number}", self._world
        seen: list[Any] = []

        async def act(engine: Engine) -> bool:
            told = await Signals(engine).answer(self._run, signal, 1)
            if told.answer is None:
                return False
            seen.append(told.answer.value)
            return True

        while len(seen) < 2:
            if self._is_over() or (not await self._insist(act) and self._is_over()):
                return False
        if set(seen) != {number + 100}:
            world.watch.fail(f"run {self._run}: {signal} was answered {seen}")
        return True

    async def _insist(self, act: Any) -> bool:
        """Ask again and again while processes die; False once the run takes no more."""
        while not self._is_over():
            try:
                return bool(await self._world.ask(act))
            except (Gone, StoreError, RunNotFound, RunConflict):
                pass  # it may not be started yet, or be retried
            await asyncio.sleep(self._world.random.choice((0.1, 0.7)))
        return False

    def _is_over(self) -> bool:
        run: Run | None = self._world.watch.runs.get(self._run)
        goes_on = self._retries and run is not None and run.header.state is RunState.FAILED
        return run is not None and run.over and not goes_on

"""People who begin the runs of `circling`, and whether these came to what they should."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rewake.engine.outside.signals import Signals
from rewake.errors import RunNotFound, StoreError
from rewake.kinds import Purpose
from rewake.records import Finished
from rewake.states import RunState
from rewake.values.run_codec import RunCodec
from tests.simulation.circling import GO, LONG, NAMES, TAIL, TOLD, WENT_ON, Begun, holds, name_of
from tests.simulation.known import Run
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.case import Case


_VICTIM = [TOLD, "RunConflict"]
"""What a run comes to that was told that it would wait for ever."""


class Rings:
    """The ring of a simulation, if it has one."""

    def __init__(self, case: Case, world: World) -> None:
        self._ring, self._world = case.ring, world

    def begin(self) -> list[asyncio.Task[None]]:
        """Let people begin its runs."""
        begun = [self._world.spawn(self._start(each)) for each in self._ring.begun]
        return begun + [self._world.spawn(self._send(run)) for run in self._ring.hears]

    async def _start(self, begun: Begun) -> None:
        await asyncio.sleep(begun.after)
        self._world.watch.doors.asks += 1
        await self._world.insist(
            lambda engine: engine.start(begun.workflow, dict(begun.given), run=begun.run),
            StoreError,
        )

    async def _send(self, run: str) -> None:
        """A signal, for which one of them waits too."""
        await asyncio.sleep(LONG)
        await self._world.insist(
            lambda engine: Signals(engine).send(run, GO, None, id=GO), StoreError, RunNotFound
        )

    def judge(self) -> Iterator[str]:
        """What is wrong, once all is over."""
        runs = self._world.watch.runs
        ringed = {name: run for name, run in runs.items() if run.header.workflow in NAMES}
        told, came = self._world.watch.circles.told, dict[str, Any]()
        for name, run in ringed.items():
            header = run.header
            if header.state is RunState.DONE:
                came[name] = self._value(run)
            elif header.state is not RunState.CANCELLED or header.parent is None:
                yield f"run {name} waits in a ring, and is {header.state}: {header.error}"
        yield from self._of_ends(came) if self._ring.plan else self._of_limits(came)
        victims = sorted(name for name, value in came.items() if value == _VICTIM)
        if len(victims) != len(told) or {run for run, _ in told} != {*victims}:
            yield f"of the ring {victims} say that they were told, and {sorted(told)} were"

    def _of_ends(self, came: dict[str, Any]) -> Iterator[str]:
        """One run begins to go on, and the others after it."""
        plan = self._ring.plan
        first = [_VICTIM] if self._ring.closes else [[WENT_ON]]
        for at in range(len(plan)):
            name, after = name_of(at), name_of((at + 1) % len(plan))
            value = came.get(name)
            if value not in first and value != [*came.get(after, ["?"]), name]:
                yield f"run {name} of the ring {plan} came to {value}: {came}"
        begins = [name for name, value in came.items() if value in first]
        if len(begins) != 1:
            yield f"of the ring {plan} {begins} went on by themselves: {came}"
        for begun in self._ring.begun:
            awaited = came.get(name_of(begun.given["at"]), ["?"])
            if begun.run == TAIL and came.get(TAIL) != [*awaited, TAIL]:
                yield f"what waits for the ring came to {came.get(TAIL)}, and that to {awaited}"

    def _of_limits(self, came: dict[str, Any]) -> Iterator[str]:
        """All but one at most have both of their sides."""
        for begun in self._ring.begun:
            value, right = came.get(begun.run), [begun.given["side"], begun.given["other"]]
            if value not in (right, _VICTIM):
                yield f"run {begun.run} came to {value}, and not {right}"
        told = [name for name, value in came.items() if value[0] == TOLD]
        if len(told) > 1:
            yield f"of one ring {told} were told"
        for name, run in self._world.watch.runs.items():
            header = run.header
            over = header.workflow == holds.name and header.state is RunState.CANCELLED
            if over and (header.parent is None or header.parent.run not in told):
                yield f"run {name} is cancelled, and nobody was told: {header.cancel}"

    def _value(self, run: Run) -> Any:
        last = run.entries[-1]
        assert isinstance(last, Finished)
        value: Any = last.outcome.value
        codec = RunCodec(self._world.secret, run.header.run)
        return codec.decode(value, key="", purpose=Purpose.OUTPUT)

"""People who pause runs and let them go on, and runs that are started to begin later."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from rewake.engine.engine import Engine
from rewake.errors import RunConflict, RunNotFound, StoreError
from rewake.records import Millis
from rewake.stores.paused import is_paused
from tests.simulation.world import Gone, World

if TYPE_CHECKING:
    from tests.simulation.case import Case


def with_pauses(case: Case) -> None:
    """Let somebody pause the runs, or start them to begin later: drawn apart from all else."""
    chance = random.Random(f"pauses/{case.seed}")
    if case.workflow == "bounded":
        return
    often = 0.3 if case.programs["r1"][0][0] == "laps" else 0.1
    if chance.random() < often:
        for name in case.programs:
            case.pauses[name] = [
                (chance.uniform(0, 6), chance.choice((0.0, 0.2, 3.0, 12.0)))
                for _ in range(chance.choice((1, 1, 2, 4)))
            ]
    if chance.random() < 0.05:
        case.delays = {name: chance.uniform(0.05, 8.0) for name in case.programs}


class Pauser:
    """Somebody who pauses one run, again and again, and resumes it."""

    def __init__(self, world: World, name: str) -> None:
        self._world = world
        self._name = name

    async def run(self, pauses: list[tuple[float, float]]) -> None:
        """Pause after so many seconds, and resume after so many."""
        for after, lasts in pauses:
            await asyncio.sleep(after)
            if await self._ask(lambda engine: engine.pause(self._name)):
                self._world.chaos.note("pause")
            await asyncio.sleep(lasts)
            await self._resume()
        while (
            run := self._world.watch.runs.get(self._name)
        ) is None or not run.over:  # a request may come late
            await asyncio.sleep(2)
            await self._resume()

    async def _resume(self) -> None:
        while self._is_paused():
            if await self._ask(lambda engine: engine.resume(self._name)):
                self._world.chaos.count("people", "go on", self._world.seconds)
            await asyncio.sleep(0.5)

    def _is_paused(self) -> bool:
        run = self._world.watch.runs.get(self._name)
        return run is not None and is_paused(run.header)

    async def _ask(self, act: object) -> bool:
        try:
            await self._world.ask(act)  # type: ignore[arg-type]
        except (RunConflict, RunNotFound, StoreError, Gone):
            return False
        return True


def begins(case: Case, name: str, engine: Engine) -> Millis | None:
    """When a run that is started now is to begin."""
    after = case.delays.get(name)
    return None if after is None else engine.services.clock.now() + int(after * 1000)

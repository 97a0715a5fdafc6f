"""People who begin a run once more: a rerun, or a fork from any of its operations.

What they begin comes to what the run comes to, whatever had happened to that by then.
"""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from rewake.engine.engine import Engine
from rewake.errors import RunConflict, RunNotFound, StoreError
from rewake.states import RunState
from tests.simulation.world import World

if TYPE_CHECKING:
    from tests.simulation.case import Case

FORK, RERUN = "fork", "rerun"
ALONE = (
    *("'hear'", "'hears'", "'tells'", "'respond'", "'approve_told'", "'approve_meanwhile'"),
    *("'call'", "'kin'", "'several'", "'keyed'"),
)
"""What other runs, or people, have been told once, by the name of one run, or what one has."""


def with_copies(case: Case) -> None:
    """Let somebody begin runs once more: drawn apart from all else."""
    chance = random.Random(f"copies/{case.seed}")
    drawn = chance.random() < 0.08
    stopped = case.cancels or case.kills or case.keep is not None or case.jumpy
    if not drawn or stopped or case.workflow != "main":
        return
    for name, (program, _) in case.programs.items():
        if not any(kind in str(program) for kind in ALONE):
            case.copies[name] = (chance.uniform(0, 8), chance.choice((FORK, FORK, RERUN)))


class Repeater:
    """Somebody who begins one run once more."""

    def __init__(self, case: Case, world: World, name: str) -> None:
        self._case = case
        self._world = world
        self._name = name

    async def run(self, after: float, how: str) -> None:
        """Do so, from one of the operations that it has asked for by then."""
        await asyncio.sleep(after)
        world, made = self._world, f"{self._name}-{how}"
        key = await self._key()
        if key is None:
            return

        async def act(engine: Engine) -> str:
            if how == FORK:
                return (await engine.fork(self._name, key, id=made)).run
            return (await engine.rerun(self._name, id=made)).run

        try:
            await world.insist(act, StoreError)
        except RunNotFound as error:
            if self._case.programs[self._name][0][0] != "laps" and not self._case.retries:
                world.watch.fail(f"run {self._name} has asked for {key}: {error}")
        except RunConflict as error:
            world.watch.fail(f"run {self._name} could not be begun once more: {error}")
        else:
            world.chaos.note(how)
            self._case.programs[made] = self._case.programs[self._name]

    async def _key(self) -> str | None:
        """One of the operations that it has asked for, once there are some; None if there are none.

        A run may come to its end without one.
        """
        world = self._world
        while (run := world.watch.runs.get(self._name)) is None or not run.all_asked:
            if run is not None and (run.over or run.header.state is RunState.STUCK):
                return None
            await asyncio.sleep(0.5)
        return world.random.choice(run.all_asked).key

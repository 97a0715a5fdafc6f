"""People outside of all runs who count states up, on the version that they have read."""

from __future__ import annotations

import asyncio

from rewake.engine.engine import Engine
from rewake.engine.outside.keyed import States
from rewake.engine.outside.signals import Signals
from rewake.errors import RunConflict, StoreError
from tests.simulation.programs import KEPT
from tests.simulation.world import Gone, World


class Writer:
    """Somebody who counts one up."""

    def __init__(self, world: World, key: str) -> None:
        self._world = world
        self._key = key

    async def write(self, times: int) -> None:
        """Do so, so often at the most; what was refused is tried again."""
        world = self._world
        for _ in range(times):
            await asyncio.sleep(world.random.choice((0.1, 0.7, 3.0)))
            try:
                version = await world.ask(self._once)
            except (RunConflict, StoreError, Gone):
                continue
            world.chaos.note("state")
            if version > world.watch.states.version(self._key):
                world.watch.fail(f"version {version} of the state {self._key} was never written")

    async def _once(self, engine: Engine) -> int:
        states = States(engine.services, Signals(engine))
        found = await states.read(KEPT, self._key)
        value, version = (0, 0) if found is None else (found[0] or 0, found[1].version)
        return (await states.write(KEPT, self._key, value + 1, version)).version

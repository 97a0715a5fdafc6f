"""Ended runs are removed, while messages, starts and retries come late, and processes die."""

from __future__ import annotations

import asyncio
import functools
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.engine.starts.starting import IfFinished, IfRunning
from rewake.errors import RunConflict, RunNotFound, RunRemoved, StoreError
from rewake.keep import ARCHIVE, keep_in
from rewake.records import Scheduled
from rewake.states import RunState
from rewake.stores.ended import ended_at
from rewake.stores.table import Key
from tests.simulation.world import EPOCH, Gone, World

if TYPE_CHECKING:
    from tests.simulation.case import Case

KEEP = 400.0
"""Seconds for which runs are kept: they are judged before."""
LATER = 15.0
"""Seconds in which something late may come."""
REMEMBERED = 60.0
"""Seconds for which ids are remembered beyond that."""
SLACK = 2000.0
"""Seconds, after that, in which all must have gone: nobody looks more often than each minute, and
what could not be archived waits for five."""
SHORT = 3.0
"""Seconds for which the runs of a key are kept."""


def settings_of(case: Case) -> Settings:
    """The settings of the processes: for how long they keep runs."""
    if case.keep is None:
        return replace(case.settings, keep=keep_in("forever"))
    return replace(
        case.settings,
        keep=keep_in(f"{int(case.keep)}s{ARCHIVE if archives(case) else ''}"),
        later=int(LATER * 1000),
        remembered=int((case.keep + REMEMBERED) * 1000),
    )


def archives(case: Case) -> bool:
    """Whether runs are archived before they are removed."""
    return case.keep is not None and random.Random(f"archived/{case.seed}").random() < 0.5


class Removing:
    """What happens once all runs have ended, and are judged, until nothing is left of them."""

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._world = world
        self._chance = random.Random(f"removing/{case.seed}")

    async def run(self) -> None:
        """Let them go."""
        world, chaos, chance = self._world, self._case.chaos, self._chance
        chaos.until = world.seconds + KEEP + REMEMBERED
        chaos.rate, chaos.budget = chance.choice((0.0, 0.02, 0.1)), 8
        for _ in range(chance.randint(0, 4)):
            world.later(KEEP + chance.uniform(-100.0, 100.0), self._harm)
        for name in self._case.programs:
            world.spawn(self._begin_again(name))
            world.spawn(self._send_late(name))
            if world.watch.runs[name].header.state is RunState.FAILED:
                world.spawn(self._retry(name))
        while not world.watch.broken and not await self._is_empty():
            if world.seconds > self._last() + KEEP + REMEMBERED + SLACK:
                for name in self._case.programs:
                    for what in await left_of(world, name):
                        world.watch.fail(f"run {name}: {what} is left of it")
            await asyncio.sleep(5.0)

    def _last(self) -> float:
        """When the last run ended, or the last mishap was."""
        ends = [ended_at(run.header) - EPOCH for run in self._world.watch.runs.values()]
        return max(*ends, int(self._case.chaos.last * 1000), 0) / 1000

    async def _is_empty(self) -> bool:
        runs = self._world.watch.runs
        left = [await left_of(self._world, name) for name in self._case.programs]
        return all(run.gone for run in runs.values()) and not any(left)

    def _harm(self) -> None:
        alive = self._world.alive()
        if alive:
            replica = self._chance.choice(alive)
            self._world.chaos.count("process", "crash", self._world.seconds)
            replica.die("a plug was pulled")

    async def _begin_again(self, name: str) -> None:
        """Somebody sends the start again, until the id may be forgotten: it begins nothing."""
        program, _ = self._case.programs[name]
        given = {"program": program}
        for _ in range(6):
            await asyncio.sleep(self._chance.uniform(0.0, 2 * KEEP / 6))
            end = (ended_at(self._world.watch.runs[name].header) - EPOCH) / 1000
            if self._world.seconds > end + KEEP + REMEMBERED - 30.0:
                return
            try:
                _, new = await self._world.ask(
                    lambda e: e.start(self._case.workflow, given, run=name)
                )
            except (RunRemoved, StoreError, Gone):
                continue
            if new:
                self._world.watch.fail(f"run {name}: it was there, and began again")

    async def _send_late(self, name: str) -> None:
        """Messages come that were long on their way."""
        asked = [e for e in self._world.watch.runs[name].all_asked if e.kind.traits.dispatched]
        for entry in asked[:8]:
            wait = self._chance.uniform(KEEP * 0.9, KEEP + REMEMBERED + 100.0)
            self._world.later(wait, lambda entry=entry: self._hand(name, entry))  # type: ignore[misc]

    def _hand(self, name: str, entry: Scheduled) -> None:
        for replica in self._world.alive()[:1]:
            self._world.watch_over(replica.spawn(replica.engine.handle(entry.message(name))))

    async def _retry(self, name: str) -> None:
        """Somebody retries a failed run at about the time when it is removed."""
        await asyncio.sleep(self._chance.uniform(KEEP * 0.8, KEEP + 70.0))
        try:
            await self._world.ask(lambda e: e.retry(name, discard_cleanup=True))
        except (RunConflict, RunNotFound, StoreError, Gone):
            return


async def left_of(world: World, run: str) -> list[str]:
    """What is stored of a run. The view of a start that died before it made a run is of none."""
    base: Any = world.base
    places = [place for place in places_of(base, run) if place.partition[:1] in "RO"]
    found = [place.sort for place in places]
    for place in places_of(base, run):
        if place.partition.startswith("V"):
            view = await base.get(place)  # or None: it has just gone
            if view is not None and (run, view.created) in world.watch.made:
                found.append("its view")
    return found + ["a value" for _ in values_of(base, run)]


def places_of(base: Any, run: str) -> list[Key]:
    """Where items of a run lie, and views of it, in whichever partitions of a table."""
    if hasattr(base, "_partitions"):
        keys = [Key(part, sort) for part, items in base._partitions.items() for sort in items]
    elif hasattr(base, "places"):
        keys = base.places()
    else:
        rows = base._reader.connection.execute("SELECT partition, sort FROM items")
        keys = [Key(*row) for row in rows.fetchall()]
    of_it = (f"R#{run}", *(f"O#{shard:02d}#{run}" for shard in range(100)))
    return [
        key
        for key in keys
        if key.partition in of_it or (key.partition[0] == "V" and key.sort.endswith(f"#{run}"))
    ]


def values_of(base: Any, run: str) -> list[str]:
    """The names of a run's large values."""
    if hasattr(base, "_blobs"):
        return [name for where, name in base._blobs if where == run]
    if hasattr(base, "values"):
        names: list[str] = base.values(run)
        return names
    rows = base._reader.connection.execute("SELECT name FROM blobs WHERE run = ?", (run,))
    return [name for (name,) in rows.fetchall()]


class Keyed:
    """People start by one key, again and again, while its runs end and are removed."""

    def __init__(self, case: Case, world: World) -> None:
        self._case = case
        self._world = world
        self._chance = random.Random(f"keyed/{case.seed}")
        self._until = 260.0

    async def run(self) -> None:
        """Let them, until nothing is left."""
        world = self._world
        world.open()
        for when, what in self._case.events:
            world.later(when, lambda what=what: self._harm(what))  # type: ignore[misc]
        people = [world.spawn(self._start()) for _ in range(3)]
        await asyncio.wait(people)
        begun = list(world.watch.runs)
        if len(begun) < 3:
            world.watch.fail(f"only {begun} were begun")
        limit = world.seconds + SLACK + REMEMBERED
        while not world.watch.broken:
            left = {run: await left_of(world, run) for run in begun}
            if not any(left.values()):
                return
            if world.seconds > limit:
                world.watch.fail(f"this is left: {left}")
            await asyncio.sleep(5.0)

    def _harm(self, what: str) -> None:
        from tests.simulation.outside import HARMS  # noqa: PLC0415 - that imports this

        for replica in self._world.alive()[:1]:
            self._world.chaos.count("process", what, self._world.seconds)
            HARMS[what](replica)

    async def _start(self) -> None:
        world, chance = self._world, self._chance
        while world.seconds < self._until and not world.watch.broken:
            await asyncio.sleep(chance.choice((0.1, 3.0, 20.0, 70.0)))
            finished = chance.choice((IfFinished.RESTART, IfFinished.RESTART, None))
            try:
                await world.ask(functools.partial(self._begin, finished))
            except (RunRemoved, StoreError, Gone):
                continue

    async def _begin(self, if_finished: IfFinished | None, engine: Engine) -> Any:
        program = ["task", "work", "n1", {"ms": self._chance.choice((5, 900))}]
        return await engine.start(
            "main",
            {"program": program},
            idempotency_key="k",
            if_running=IfRunning.ATTACH,
            if_finished=if_finished,
            compare=False,
        )

"""People who start the runs of `crowding`, and whether each start came to what it should.

Nothing is lost: what somebody was told of is in a run, which comes to it. Nothing is doubled: no
item is in two runs, however often its start was sent. Of a singleton one run goes on at a time; who
gathers begins with all that came, or with the last of it, and no sooner or later than it should;
who is refused has no run and takes nobody's turn, and who has one was let in, once.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rewake.engine.engine import Engine
from rewake.engine.starts.singletons import NEWER
from rewake.errors import StoreError, Throttled
from rewake.kinds import Purpose
from rewake.records import Finished
from rewake.states import RunState
from rewake.values.run_codec import RunCodec
from tests.simulation.crowding import (
    ANSWER,
    OVER,
    Start,
    alone,
    answer,
    called,
    newest,
    ration,
    settle,
)
from tests.simulation.known import Run
from tests.simulation.world import Gone, World

if TYPE_CHECKING:
    from tests.simulation.case import Case

_SOON = 20.0
"""Seconds, after the last mishap, within which a run has been cancelled for a newer one."""


_LONG = 60.0
"""Seconds after which nobody knows any more whom a throttle has let in."""


class Starter:
    """Somebody who makes one start, and what they were told."""

    def __init__(self, world: World, start: Start) -> None:
        self._world = world
        self.start = start
        self.asked = 0.0
        self.told: float | None = None
        self.run = ""
        self.sure = True
        self.refused = False

    async def begin(self) -> None:
        """Start it, and see to what belongs to it."""
        world, start = self._world, self.start
        await asyncio.sleep(start.after)
        self.asked = world.seconds
        if start.item not in world.watch.doors.asked:
            world.watch.doors.asked[start.item] = self.asked
        while not (self.told or self.refused):
            since = world.seconds
            world.watch.doors.asks += 1
            try:
                self.run = await world.ask(self._act)
                self.told = world.seconds
            except Throttled:
                self.refused = True
                world.watch.doors.used["refuse"] += 1
                if not world.watch.doors.is_full(start, since):
                    world.watch.fail(f"{start.item} was refused, and fewer than may had come")
            except (Gone, StoreError):
                self.sure = False
                if not start.named:
                    return
                await asyncio.sleep(world.random.choice((0.1, 0.7, 3.0)))
        if start.ends:
            await asyncio.sleep(world.random.choice((0.0, 0.3, 2.0)))
            await world.insist(self._over, StoreError)
        if start.workflow == answer.name:
            await world.watch.doors.come[start.item].wait()

    async def _act(self, engine: Engine) -> str:
        start = self.start
        if start.workflow == answer.name:
            name = f"crowd-{start.item}" if start.named else None
            await engine.services.events.publish(ANSWER, dict(start.arguments), id=name)
            return ""
        header, _ = await engine.start(start.workflow, start.arguments, **start.how)
        return header.run

    async def _over(self, engine: Engine) -> None:
        item = self.start.item
        await engine.services.events.publish(OVER, {"item": item}, id=f"over-{item}")


class Crowd:
    """All starts of a simulation."""

    def __init__(self, case: Case, world: World) -> None:
        self._world = world
        self._starters = [Starter(world, start) for start in case.crowd for _ in range(start.times)]

    def begin(self) -> list[asyncio.Task[None]]:
        """Let everybody come."""
        return [self._world.spawn(each.begin()) for each in self._starters]

    def judge(self) -> Iterator[str]:
        """What is wrong, once all is over."""
        doors = self._world.watch.doors
        has = Counter(
            item for lists in doors.begins.values() for item in set(itertools.chain(*lists))
        )
        for item, number in has.items():
            if number > 1:
                yield f"{item} is in {number} runs"
        for starter in self._starters:
            known = starter.told is not None and starter.start.workflow != answer.name
            if known and (wrong := self._told(starter)):
                yield f"who started {starter.start.item} was told of {starter.run!r}: {wrong}"
        for item, several in itertools.groupby(self._starters, lambda each: each.start.item):
            if has[item] and all(each.refused and each.sure for each in several):
                yield f"{item} was refused, and is in a run"
        ends = {each.start.item for each in self._starters if each.start.ends}
        for name, run in doors.runs.items():
            if wrong := self._ended(run, ends):
                yield f"run {name} of {doors.keys[name]}: {wrong}"
        yield from self._of_newest()
        yield from self._let_in()

    def _told(self, starter: Starter) -> str:
        """What is wrong with what somebody was told; empty: nothing."""
        doors, start = self._world.watch.doors, starter.start
        if starter.run not in doors.runs:
            return "it is not there"
        lists = doors.begins[starter.run]
        if start.workflow == settle.name:
            return self._settled(starter, lists)
        if start.item in lists[-1]:
            return ""
        doors.used["skip"] += 1
        over = doors.over.get(starter.run, float("inf"))
        stands = start.workflow == alone.name and doors.keys[starter.run] == start.key
        if stands and over >= starter.asked:
            return ""
        return f"it begins with {lists[-1]}, and ended at {over:.3f} s"

    def _settled(self, starter: Starter, lists: list[list[str]]) -> str:
        """It begins with what came last: with this, or what was sent before this was answered."""
        if [starter.start.item] not in lists:
            return f"it never was to begin with that, but {lists}"
        others = [each for each in self._starters if [each.start.item] == lists[-1]]
        if starter.told and all(each.told and each.told < starter.asked for each in others):
            return f"it begins with {lists[-1]}, which was answered before"
        return ""

    def _ended(self, run: Run, ends: set[str]) -> str:
        """What is wrong with how a run ended; empty: nothing."""
        header, items = run.header, self._world.watch.doors.begins[run.header.run][-1]
        cancelled = header.state is RunState.CANCELLED
        if header.workflow == newest.name and cancelled:
            return "" if header.cancel == NEWER and header.cancels == 1 else f"{header.cancel!r}"
        if header.workflow == called.name and cancelled:
            return "" if items[0] in ends else f"{items} is not over: {header.cancel!r}"
        last = run.entries[-1]
        if header.state is not RunState.DONE or not isinstance(last, Finished):
            return f"it is {header.state}: {header.error}"
        value: Any = last.outcome.value
        codec = RunCodec(self._world.secret, header.run)
        came = codec.decode(value, key="", purpose=Purpose.OUTPUT)
        return "" if came == items else f"it came to {came}, and began with {items}"

    def _of_newest(self) -> Iterator[str]:
        """Of each key the newest comes to its end, and the others gave way to it in time."""
        doors, by_key = self._world.watch.doors, defaultdict[str, list[str]](list)
        for name, run in doors.runs.items():
            if run.header.workflow == newest.name:
                by_key[doors.keys[name]].append(name)
        for key, runs in by_key.items():
            done = [name for name in runs if doors.runs[name].header.state is RunState.DONE]
            if not done:
                yield f"all of {runs} of {key} gave way"
            for name, newer in itertools.combinations(runs, 2):
                since = max(doors.made[newer], self._world.chaos.last)
                admissions = [doors.runs[each].header.admission for each in (name, newer)]
                if any(each is not None and not each.takes_over for each in admissions):
                    continue  # one was made too late for its place, and waits behind who came since
                if {name, newer} <= {*done} and doors.over[name] > since + _SOON:
                    yield f"run {name} went on, and {newer} waited for it"

    def _let_in(self) -> Iterator[str]:
        """There are no more runs than were let in, and nobody was let in twice, or as refused."""
        doors = self._world.watch.doors
        begun = [run for run in doors.runs.values() if run.header.workflow == ration.name]
        if len(begun) > len(doors.let_in):
            yield f"{len(begun)} runs were begun, and {len(doors.let_in)} let in"
        came = [each for each in self._starters if each.start.workflow == ration.name]
        may = {each.start.item for each in came if not each.refused}
        # Whoever asks again once nobody has asked for long is not known any more.
        again = sum(each.told is None or each.told - each.asked > _LONG for each in came)
        if len(doors.let_in) > len(may) + again:
            yield f"{len(may)} starts were not refused, and {len(doors.let_in)} let in"

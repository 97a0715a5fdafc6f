"""The runs of `crowding` as the writes tell them: what is wrong with one is told at once."""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from rewake.kinds import Purpose
from rewake.ledger import Limit
from rewake.limited import LimitKind
from rewake.records import Header, Started, Value
from rewake.states import RunState
from rewake.values.run_codec import RunCodec
from tests.simulation.crowding import (
    KEYS,
    LONGEST,
    NAMES,
    PACK,
    PER,
    RATION,
    SETTLE,
    Start,
    alone,
    newest,
    pack,
    settle,
)

if TYPE_CHECKING:
    from tests.simulation.known import Run
    from tests.simulation.world import World

_SINGLE = (alone.name, newest.name)
_GATHERED = (settle.name, pack.name)


class Doors:
    """`begins`: with which items each run was to begin, in turn. `made`, `over`: when.

    `let_in`: of which key a throttle let somebody in, and when it then lets in the next.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._args: dict[str, Value] = {}
        self.asked = defaultdict[str, float](float)
        self.asks = 0
        self.come = defaultdict[str, asyncio.Event](asyncio.Event)
        self.begins: defaultdict[str, list[list[str]]] = defaultdict(list)
        self.keys: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.made: dict[str, float] = {}
        self.over: dict[str, float] = {}
        self.let_in: list[tuple[str, int]] = []
        self.used = Counter[str]()
        self._next: dict[str, int] = {}

    def wrote(self, run: Run) -> str:
        """What is wrong with a run that was written; empty: nothing."""
        header = run.header
        if header.workflow not in NAMES or header.state is RunState.REMOVED:
            return ""
        new = header.run not in self.runs
        self.runs[header.run] = run
        self.made.setdefault(header.run, self._world.seconds)
        if run.over:
            self.over.setdefault(header.run, self._world.seconds)
        wrong = self._begins(run)
        if new and not wrong and header.workflow in _GATHERED:
            wrong = self._beside_what_gathers(header)
        return wrong or self._beside(run)

    def limit(self, limit: Limit) -> str:
        """What is wrong with a limit that was written; empty: nothing."""
        if limit.kind != LimitKind.THROTTLE:
            return ""
        before, self._next[limit.id] = self._next.get(limit.id, 0), limit.next
        if limit.next > before:
            self.let_in.append((limit.key, limit.next))
        latest = (self._now + PER * 1000) * 1000
        return "" if limit.next <= latest else f"{limit.name} lets more in than {RATION} in {PER} s"

    def is_full(self, start: Start, since: float) -> bool:
        """Whether a throttle had nothing left for who came then, by the clock that is last."""
        by_key = [next_ for key, next_ in self.let_in if key == start.key or key not in KEYS]
        then = self._world.true_now() - int((self._world.seconds - since) * 1000)
        late = max(by_key, default=0) - (RATION - 1) * PER * 1_000_000 // RATION
        return late > (then - self._world.settings.skew) * 1000  # or the key is hidden

    @property
    def _now(self) -> int:
        """The latest that a clock may show, which is right."""
        return self._world.true_now() + self._world.settings.skew

    def _asked(self, item: str) -> int:
        """When a start was first sent, by a right clock."""
        since = self._world.seconds - self.asked[item]
        return self._world.true_now() - int(since * 1000)

    def _begins(self, run: Run) -> str:
        """Look at what a run begins with, if that is new."""
        name, first = run.header.run, run.entries[0]
        assert isinstance(first, Started)
        if self._args.get(name) == first.args:
            return ""
        self._args[name] = first.args
        codec = RunCodec(self._world.secret, name)
        given = codec.decode(first.args, key="", purpose=Purpose.INPUT)
        gathered = given.get("items") or [[given["key"], given["item"]]]
        items, before = [item for _, item in gathered], self.begins[name][-1:]
        self.keys[name] = gathered[0][0]
        self.begins[name].append(items)
        self.used["join"] += bool(before)
        for item in items:
            self.come[item].set()
        if before and run.header.workflow == pack.name and items[:-1] != before[0]:
            return f"run {name} was to begin with {before[0]}, and then with {items}"
        return self._when(run.header, items)

    def _when(self, header: Header, items: list[str]) -> str:
        """What is wrong with the moment at which a run is to begin."""
        wake, last = header.wake, header.created + LONGEST * 1000
        if wake is None or header.state is not RunState.DELAYED:
            return ""
        if header.workflow == pack.name:
            late = len(items) >= PACK and wake > self._now
            return f"run {header.run} waits, and has {items}" if late else ""
        asked = self._asked(items[-1]) + int(SETTLE * 1000) - self._world.settings.skew
        if wake > min(self._now + int(SETTLE * 1000), last):
            return f"run {header.run} begins with {items} at {wake}, and that is too late"
        if wake < min(asked, last):
            return f"run {header.run} begins with {items} at {wake}, and that is too early"
        return ""

    def _beside_what_gathers(self, new: Header) -> str:
        """Where nothing has gone wrong, nobody begins another run while one gathers."""
        world, key = self._world, self.keys[new.run]
        if world.mishaps() or world.chaos.slow or world.chaos.fired:
            return ""
        there = (run.header for name, run in self.runs.items() if self.keys[name] == key)
        for header in there:
            same = header.workflow == new.workflow and header.run != new.run
            if same and header.state is RunState.DELAYED and (header.wake or 0) > self._now:
                return f"run {new.run} was begun, and {header.run} gathers what comes"
        return ""

    def _beside(self, run: Run) -> str:
        """Of a singleton one run goes on that was let in."""
        header = run.header
        if header.workflow not in _SINGLE or not _goes_on(run):
            return ""
        key = self.keys[header.run]
        for name, other in self.runs.items():
            same = other.header.workflow == header.workflow and self.keys[name] == key
            if same and name != header.run and _goes_on(other):
                return f"run {header.run} goes on beside {name}, and it is alone"
        return ""


def _goes_on(run: Run) -> bool:
    admission = run.header.admission
    inside = admission is not None and admission.inside
    return inside and not run.over and len(run.entries) > 1

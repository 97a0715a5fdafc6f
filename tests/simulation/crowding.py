"""Starts of workflows that mind how many come: alone, refused, gathered, begun or ended by events.

They are drawn apart from the programs, which go on beside them. Each start brings an item of its
own, which says what has become of it: its run comes to the items that it began with.

    alone     a start stands for the run that is there (`singleton="skip"`)
    newest    it takes the place of those that are there (`singleton="cancel"`)
    ration    it is refused if there were too many (`throttle=`)
    settle    it begins when nothing more has come for a while (`debounce=`)
    pack      it begins with what has come together (`batch=`)
    answer    it is an event, which starts a run (`on_event=`)
    called    an event cancels its run later, or that of another key (`cancel_on=`)
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rewake import batch, debounce, event, rate, singleton, sleep, workflow
from tests.simulation.faults import Chaos, kinds_of
from tests.simulation.programs import NEVER, work

LONG, NAP = 40_000, 8_000
"""Milliseconds: a run that is in the way of a newer one goes on for longer than others need."""
SETTLE, LONGEST = 1.2, 4
PACK, WITHIN = 4, 2
RATION, PER = 2, 2
ANSWER, OVER = "asked", "over"
"""The events that begin runs, and that end them."""
KEYS = ("a", "b")
_ID, _KEY = "id", "key"


def _key(key: str) -> str:
    return key


@workflow(singleton=singleton("skip", key=_key))
async def alone(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


@workflow(singleton=singleton("cancel", key=_key))
async def newest(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


@workflow(throttle=rate(RATION, per=PER, key=_key))
async def ration(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


@workflow(debounce=debounce(SETTLE, longest=LONGEST, key=_key))
async def settle(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


@workflow(batch=batch(PACK, within=WITHIN, key=lambda items: items[0][0]))
async def pack(items: list[list[str]]) -> list[str]:
    await asyncio.gather(*(work(item, {}, None) for _, item in items))
    return [item for _, item in items]


@workflow(on_event=event(ANSWER))
async def answer(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


@workflow(cancel_on=event(OVER, where={"item": "item"}))
async def called(key: str, item: str, ms: int) -> list[str]:
    return await carried_out(item, ms)


async def carried_out(item: str, ms: int) -> list[str]:
    """A task, and a while."""
    await work(item, {}, None)
    while NAP < ms <= LONG:
        await sleep(NAP / 1000)
        ms -= NAP
    await sleep(ms / 1000)
    return [item]


CROWDED = (alone, newest, ration, settle, pack, answer, called)
NAMES = tuple(each.name for each in CROWDED)
"""The workflows, and what they are called."""


@dataclass(frozen=True)
class Start:
    """One start: of which workflow, after how many seconds, with which item of which key.

    `ms`: how long its run takes. `named`: by an id or a key of its own, so that it is sent until it
    is answered; else it is sent once. `times`: so often at once.
    """

    workflow: str
    after: float
    key: str
    item: str
    ms: int
    named: str = ""
    times: int = 1

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What its workflow is given, or its event says."""
        if self.workflow == pack.name:
            return {"items": [[self.key, self.item]]}
        return {"key": self.key, "item": self.item, "ms": self.ms}

    @property
    def how(self) -> Mapping[str, Any]:
        """How it is named."""
        name = f"crowd-{self.item}"
        return {_ID: {"run": name}, _KEY: {"idempotency_key": name}}.get(self.named, {})

    @property
    def ends(self) -> bool:
        """Whether an event is to end its run, which would not end by itself."""
        return self.ms >= NEVER * 1000


def crowd_of(seed: int) -> tuple[Start, ...]:
    """The starts of a seed: most have none."""
    chance = random.Random(f"crowd/{seed}")
    if chance.random() >= 0.15:
        return ()
    kinds = chance.sample(NAMES, chance.choice((1, 1, 2)))
    return tuple(start for kind in kinds for start in starts_of(kind, chance))


def starts_of(workflow: str, chance: random.Random) -> Sequence[Start]:
    """Some starts of one workflow: in bursts, and after pauses."""
    after, found = chance.uniform(0, 3), list[Start]()
    keys = chance.choice((KEYS[:1], KEYS))
    number = chance.randint(3, 8)
    for count in range(number):
        pauses = (0.0, 0.0, 0.02, 0.4, 0.4, 1.5, 3.0)
        after += chance.choice(pauses[:4] if workflow == ration.name else pauses)
        key = chance.choice(keys)
        ms = chance.choice((1, 300, 2000))
        if workflow == newest.name:
            ms = LONG if count < number - 1 else 300
        named, times = chance.choice(("", _ID, _ID, _KEY)), chance.choice((1, 1, 1, 2))
        if workflow == called.name and chance.random() < 0.7:
            ms, named = NEVER * 1000, named or _ID
        item = f"{workflow}{count}"
        found.append(Start(workflow, after, key, item, ms, named, times if named else 1))
    return found


def aimed_at_starts(chaos: Chaos, chance: random.Random, crowd: Sequence[Start]) -> None:
    """Plan some more faults, of calls by which starts are let through."""
    if chaos.until < 0 or not crowd:
        return
    gathered = any(start.workflow in (settle.name, pack.name) for start in crowd)
    places = ("get g", "put g", "get g", "put g", "update F") if gathered else ("update F",)
    for _ in range(chance.choice((2, 3, 4)) if gathered else chance.choice((0, 1, 2))):
        place = chance.choice(places)
        fault = chance.choice(kinds_of(place.partition(" ")[0]))
        chaos.planned[place, chance.randint(1, 6)] = fault

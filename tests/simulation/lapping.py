"""Endless workflows: programs that go on as new some times, and what is left of their laps."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from rewake.laps import lap_of
from rewake.records import Header, Operation
from rewake.stores.keys import (
    CHUNKS,
    OPERATIONS,
    STREAM,
    lap_of_chunk,
    run_partition,
    stream_number,
)
from rewake.stores.table import Key
from tests.simulation.generate import Drawn

if TYPE_CHECKING:
    from tests.simulation.world import World


def endless(chance: random.Random) -> Drawn:
    """Some laps of a few operations each, of which something is perhaps open at the end."""
    nodes: list[Any] = []
    values: list[Any] = []
    for number in range(chance.randint(1, 3)):
        node, value = _part(f"e{number}", chance)
        nodes.append(node)
        values.append(value)
    left = [
        ["task", "work", "left", {"hangs": -1}],
        ["approve", "never-left", None],
        ["step", "left", {"hangs": -1}],
        ["sleep", 4_000_000],
    ]
    laps = chance.randint(2, 6)
    if chance.random() < 0.5:
        node, value = _hears(laps, chance)
        nodes.insert(chance.randint(0, len(nodes)), node)
        values.insert(nodes.index(node), value)
    kind = chance.choice((["seq"], ["gather", False]))
    open_ = chance.choice(left) if chance.random() < 0.7 else None
    return ["laps", laps, [*kind, *nodes], open_], values


def _hears(laps: int, chance: random.Random) -> Drawn:
    """Some signals in each lap, of which the last one hears the last."""
    name, count = (
        f"{chance.choice(('line', 'line', 'twice', 'ask', 'late'))}-l",
        chance.randint(1, 2),
    )
    numbers = range((laps - 1) * count, laps * count)
    return ["hear", name, count], ["heard", name, list(numbers)]


def _part(name: str, chance: random.Random) -> Drawn:
    plan: dict[str, Any] = {"ms": chance.choice((5, 100, 900))} if chance.random() < 0.5 else {}
    match chance.choice(("task", "task", "step", "sleep")):
        case "sleep":
            return ["sleep", chance.choice((1, 150, 1500))], True
        case "step":
            return ["step", name, plan], [name, None]
    kind = chance.choice(("work", "retried"))
    if kind == "retried" and chance.random() < 0.3:
        plan["fails"] = 1
    return ["task", kind, name, plan], [name, None]


def may_go(key: Key, header: Header) -> bool:
    """Whether an item is of a lap that is long over, so that it may be removed."""
    if key.sort.startswith(CHUNKS):
        return lap_of_chunk(key.sort) < header.lap.number
    if key.sort.startswith(STREAM):
        return stream_number(key.sort) < header.lap.old
    return lap_of(key.sort[2:]) < header.lap.number - 1


async def what_is_left(world: World, header: Header) -> list[str]:
    """What is wrong with what earlier laps of a run have left, if it is not removed yet."""
    lap, cleared = header.lap.number, header.lap.cleared
    page = await world.base.query(run_partition(header.run), OPERATIONS)
    items: list[Operation] = [item for _, item in page.items]
    if cleared < lap:
        return []
    wrong = [
        f"{item.key} is still open, and its lap is over"
        for item in items
        if item.kind.traits.awaited and item.outcome is None and lap_of(item.key) < lap
    ]
    # Who came late with a write, and died right behind it, could not take it back.
    writers = world.watch.runs[header.run].writers
    late = {key for key, replica in writers.items() if replica.dead}
    kept = {lap_of(each.key) for each in items if each.key not in late}
    wrong += [f"lap {each} is still there, in lap {lap}" for each in kept if each < lap - 1]
    chunks = await world.base.query(run_partition(header.run), CHUNKS)
    old = [key.sort for key, _ in chunks.items if lap_of_chunk(key.sort) < lap]
    return wrong + [f"the chunk {each} is still there, in lap {lap}" for each in old]

"""Families of runs: parts of programs that are runs of their own, and what must be true of them.

A part is wrapped where it makes no difference to what the program comes to: `["child", part]`
awaits it, and `["kin", id, part, then]` starts it and asks for its result, or ties it to the body.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from rewake.records import Header, Scheduled
from rewake.stores.ended import ENDED
from rewake.stores.families import is_waited_for
from tests.simulation.generate import Drawn, Err
from tests.simulation.programs import NEVER

if TYPE_CHECKING:
    from tests.simulation.known import Run

ENDLESS = frozenset({"timeout", "first", "race"})
"""Nodes with a part that never ends: as a child it is cancelled, wherever it is."""
_NEVER = ("'hangs': -1", "never-", str(NEVER * 1000))


def with_children(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, some parts of which are runs of their own."""
    program, right = drawn
    program = _wrapped(program, chance)
    if "respond" in str(program):
        return program, right  # it is the run's own answer
    match chance.choice(("whole", "beside", "started", "tied", "deep")):
        case "whole":
            return ["child", program], right
        case "deep":
            return ["child", ["child", ["child", program]]], right
        case "beside":
            names = [f"k{number}" for number in range(chance.randint(1, 5))]
            parts = [["child", ["task", "work", name, {}]] for name in names]
            node, values = ["gather", False, *parts, program], [[name, None] for name in names]
            return node, right if isinstance(right, Err) else [*values, right]
        case "tied":
            node = ["seq", ["kin", "tied", ["sleep", 4_000_000], "tied"], program]
            return node, right if isinstance(right, Err) else ["tied", right]
    node = ["seq", ["kin", "started", ["task", "work", "k", {}], "result"], program]
    return node, right if isinstance(right, Err) else [["k", None], right]


def _wrapped(node: Any, chance: random.Random, *, within: bool = False) -> Any:
    """The program with endless parts in runs of their own, here and there.

    `within` a `parallel` what comes to an end may be given the item, which no child gets.
    """
    if not isinstance(node, list):
        return node
    if node[:1] and node[0] in ENDLESS and chance.random() < 0.7:
        last = node[-1]
        ends = within and not any(each in str(last) for each in _NEVER)
        return [*node[:-1], ["child", last]] if isinstance(last, list) and not ends else node
    within = within or node[:1] == ["parallel"]
    return [_wrapped(part, chance, within=within) for part in node]


def untold(runs: Mapping[str, Run], header: Header) -> str:
    """What is wrong with a run that nobody looks at any more; empty: whoever waits for it knows."""
    parent = header.parent
    if not (is_laid_down(header) and is_waited_for(header)) or parent is None or not parent.waits:
        return ""
    waits = runs.get(parent.run)
    item = None if waits is None else waits.operations.get(parent.key)
    told = item is not None and item.round >= parent.round and item.outcome is not None
    if told or waits is None or waits.over:
        return ""
    return f"it has ended, and {parent.key} of run {parent.run} is never told"


def tells(runs: Mapping[str, Run], asked: Scheduled) -> bool:
    """Whether the run that an operation is about will be looked at, and then tell of its end."""
    about = None if asked.about is None else runs.get(asked.about.run)
    return about is not None and not is_laid_down(about.header)


def is_laid_down(header: Header) -> bool:
    """Whether nobody looks at a run any more but to remove it."""
    return header.due is None or header.due >= ENDED


def forsaken(runs: Mapping[str, Run]) -> Iterator[str]:
    """What is wrong with the children once all is over."""
    for run in runs.values():
        parent = run.header.parent
        if parent is None or parent.run not in runs:
            continue
        asked = [each for each in runs[parent.run].all_asked if each.key == parent.key]
        if asked and asked[0].about is not None and asked[0].about.run != run.header.run:
            yield f"run {run.header.run} is not what {parent.key} of {parent.run} has asked for"
        if not asked:
            yield f"run {run.header.run} was begun, and nobody has asked for it"

"""Wide fan-outs, whose arrivals join items count: programs that have one, drawn apart.

Whoever holds a run has closed its join items once the header says so: what is counted there after
that, the header would never hear of.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import Any

from rewake.ledger import Join
from rewake.records import Header
from rewake.stores.joins import may_be_open
from rewake.stores.keys import run_of
from rewake.stores.table import Key
from tests.simulation.generate import Drawn, Err


def fan(name: str, chance: random.Random, *, fails: bool = False) -> Drawn:
    """Some tasks at once, which end at the same moment or after each other; one may fail once."""
    tasks, right = [], []
    for number in range(chance.randint(3, 12)):
        plan: dict[str, Any] = {"ms": chance.choice((0, 0, 5, 30, 700, 2_500, 6_000))}
        if chance.random() < 0.15:
            plan = {"fails": 1}
        kind = "retried" if "fails" in plan else "work"
        tasks.append([kind, f"{name}-{number}", plan])
        right.append([f"{name}-{number}", None])
    if fails:
        tasks.append(["work", f"{name}-bad", {"fails": 1}])
        right.append([f"{name}-bad", None])
    return ["fan", *tasks], right


def with_fan(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, with a fan-out before it or behind it."""
    (program, right), (wide, each) = drawn, fan("fan", chance)
    parts, values = chance.choice(
        (([wide, program], [each, right]), ([program, wide], [right, each]))
    )
    return ["seq", *parts], right if isinstance(right, Err) else values


class Joins:
    """The join items of all runs, as they were written last."""

    def __init__(self) -> None:
        self._runs: dict[str, Header] = {}
        self._items: defaultdict[str, dict[Key, Join]] = defaultdict(dict)

    def wrote(self, key: Key, item: Join) -> str:
        """What is wrong with an item that was written; empty: nothing."""
        self._items[run_of(key)][key] = item
        return self._left_open(run_of(key))

    def closed(self, header: Header) -> str:
        """What is wrong with the items of a run whose header was written; empty: nothing."""
        self._runs[header.run] = header
        return self._left_open(header.run)

    def _left_open(self, run: str) -> str:
        header = self._runs.get(run)
        if header is None or may_be_open(header):
            return ""
        for key, item in self._items[run].items():
            if item.missing < 0 and item.number < header.joins:
                return f"run {run}: its join items are closed, and {key.partition} counts on"
        return ""

"""Situations of groups: blocks and tries that run at most once, under processes that die."""

from __future__ import annotations

import random
from typing import Any

from rewake.engine.settings import Settings
from tests.simulation.case import Case
from tests.simulation.faults import TRANSACTIONS, chaos_of


def grouped(seed: int, store: str) -> Case:
    """Long tries in blocks that are retried, while one process after the other dies."""
    chance = random.Random(f"grouped/{seed}")
    steps = [
        ["step", f"s{number}", {"once": True, "again": chance.randint(1, 3), "ms": 900}]
        for number in range(3)
    ]
    tasks = [["task", "retried", f"n{number}", {"ms": 400}] for number in range(3)]
    nodes: list[list[Any]] = [
        ["block", "trip", chance.choice((0, 1, 2)), tasks[0]],
        ["outcomes", *steps],
        ["block", "b", chance.choice((0, 1, 2)), ["gather", False, *tasks[1:]]],
    ]
    chance.shuffle(nodes)
    right = {"trip": ["n0", None], "b": [["n1", None], ["n2", None]]}
    some = [["s0", None], ["s1", None], ["s2", None]]
    values: list[Any] = [right[node[1]] if node[0] == "block" else some for node in nodes]
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    case = Case(seed, store, {"r1": (["seq", *nodes], values)}, chaos, settings)
    case.replicas, case.lag = chance.choice((1, 2)), chance.choice((0, 300))
    for _ in range(chance.randint(2, 6)):
        case.events.append((chance.uniform(0.0, 12.0), chance.choice(("crash", "crash", "close"))))
    return case

"""Situations of tasks that wait for limits."""

from __future__ import annotations

import random

from rewake.engine.settings import Settings
from tests.simulation.case import Case, case_of
from tests.simulation.faults import Chaos, calm
from tests.simulation.limiting import with_limits


def limited(seed: int, store: str) -> Case:
    """Whatever goes wrong, among tasks that share limits."""
    chance = random.Random(f"limited/{seed}")
    case = case_of(seed + 9_000, store)
    case.seed = seed
    case.programs = {run: with_limits(whole, chance) for run, whole in case.programs.items()}
    return case


def in_line(seed: int, store: str) -> Case:
    """Many wait for two places, while messages get lost and processes die."""
    chance = random.Random(f"line/{seed}")
    plan = {"limited": True, "ms": chance.choice((50, 400))}
    tasks = [["task", "timed", f"n{number}", plan] for number in range(12)]
    right = [[f"n{number}", None] for number in range(12)]
    chaos = calm(seed) if chance.random() < 0.3 else Chaos(random.Random(seed), messages=0.3)
    settings = Settings(strikes=1000, lost=1000)
    case = Case(seed, store, {"r1": (["gather", False, *tasks], right)}, chaos, settings)
    case.local, case.replicas = chance.random() < 0.5, chance.choice((1, 2, 3))
    case.events = [
        (chance.uniform(0, 6), chance.choice(("crash", "close", "stall")))
        for _ in range(chance.choice((0, 1, 2)))
    ]
    return case


LIMITED_SCENARIOS = {
    "many wait for few places": in_line,
    "tasks share limits": limited,
}

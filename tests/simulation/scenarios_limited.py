"""Situations of what waits for limits, and of tasks that tell how far they are."""

from __future__ import annotations

import random
from typing import Any

from rewake.engine.settings import Settings
from tests.simulation.beating import with_beats
from tests.simulation.case import Case, case_of
from tests.simulation.faults import STALL, Chaos, calm
from tests.simulation.limiting import with_limits
from tests.simulation.scenarios_circling import ringed


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


def beating(seed: int, store: str) -> Case:
    """Whatever goes wrong, among tasks that tell how far they are, and may fall silent."""
    chance = random.Random(f"beating/{seed}")
    case = case_of(seed + 11_000, store)
    case.seed = seed
    case.programs = {run: with_beats(whole, chance) for run, whole in case.programs.items()}
    return case


def overtaken_while_it_tells(seed: int, store: str) -> Case:
    """Processes that carry long tasks stand still, are overtaken, and go on to tell of these."""
    chance = random.Random(f"overtaken/{seed}")
    plan = {"beats": 40, "every": chance.choice((150, 400)), "silent": chance.choice((0, 1))}
    tasks = [["task", "timed", f"n{number}", plan] for number in range(3)]
    right = [[f"n{number}", None] for number in range(3)]
    settings = Settings(strikes=1000, lost=1000)
    chaos = Chaos(random.Random(seed), stalls=9.0, until=200.0, slow=0.3)
    first = chance.randint(4, 12)
    chaos.planned = {("update O", number): STALL for number in range(first, 200, 5)}
    case = Case(seed, store, {"r1": (["gather", False, *tasks], right)}, chaos, settings)
    case.local, case.replicas = chance.random() < 0.5, 3
    kinds = ("pause", "heart", "loop", "crash", "close")
    case.events = [(chance.uniform(1.5, 12), chance.choice(kinds)) for _ in range(2)]
    return case


def cached(seed: int, store: str) -> Case:
    """Three runs call the same tasks at once and again, before and after their results are over."""
    chance = random.Random(f"cached/{seed}")
    names, pauses = ("n0", "n1"), (100, 600, 2_500)
    plans = {name: {"limited": True, "ms": chance.choice((50, 400))} for name in names}
    plans["n1"] |= chance.choice(({}, {"fails": 1}, {"kills": 1}))
    programs: dict[str, tuple[list[Any], Any]] = {}
    for run in ("r1", "r2", "r3"):
        parts: list[Any] = []
        right: list[Any] = []
        for _ in range(3):
            called = [chance.choice(names) for _ in range(chance.randint(1, 4))]
            parts.append(["gather", False, *(["task", "made", n, plans[n]] for n in called)])
            parts.append(["nap", chance.choice(pauses)])
            right += [[[name, None] for name in called], True]
        programs[run] = ["seq", *parts], right
    chaos = calm(seed) if chance.random() < 0.2 else Chaos(random.Random(seed), messages=0.2)
    case = Case(seed, store, programs, chaos, Settings(strikes=1000, lost=1000))
    case.local, case.replicas = chance.random() < 0.5, chance.choice((1, 2, 3))
    case.events = [
        (chance.uniform(0, 8), chance.choice(("crash", "close", "stall")))
        for _ in range(chance.choice((0, 1, 2)))
    ]
    return case


LIMITED_SCENARIOS = {
    "runs wait in a ring": ringed,
    "tasks tell how far they are": beating,
    "whoever is overtaken tells something": overtaken_while_it_tells,
    "runs share results": cached,
    "many wait for few places": in_line,
    "tasks share limits": limited,
}

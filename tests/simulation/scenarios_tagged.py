"""Situations of tasks that only some processes serve."""

from __future__ import annotations

import random

from rewake.engine.settings import Settings
from tests.simulation.case import Case, case_of
from tests.simulation.fanning import with_fan
from tests.simulation.faults import Chaos, calm
from tests.simulation.scenarios_removing import removed as ended
from tests.simulation.tagging import BOTH, ROLES, TAG, TAGGED, UNTAGGED, with_tags


def tagged(seed: int, store: str) -> Case:
    """Whatever goes wrong, among processes of which each serves something else."""
    chance = random.Random(f"tagged/{seed}")
    case = case_of(seed + 7_000, store)
    case.seed, case.roles = seed, chance.choice(ROLES)
    case.programs = {run: with_tags(whole, chance) for run, whole in case.programs.items()}
    return case


def joined_late(seed: int, store: str) -> Case:
    """Nobody serves the tag, until somebody comes; meanwhile a task of no tag goes on."""
    chance = random.Random(f"joined/{seed}")
    tasks = [["task", "work", f"n{number}", {"tag": TAG, "ms": 300}] for number in range(5)]
    other = ["task", "work", "m1", {}]
    program = ["gather", False, *tasks, ["seq", other, ["nap", 2_000], other]]
    right = [*([f"n{number}", None] for number in range(5)), [["m1", None], True, ["m1", None]]]
    settings = Settings(strikes=1000, lost=1000, tasks=chance.choice((2, 100)))
    chaos = calm(seed) if chance.random() < 0.5 else Chaos(random.Random(seed), messages=0.3)
    case = Case(seed, store, {"r1": (program, right)}, chaos, settings)
    case.local, case.roles = chance.random() < 0.5, (UNTAGGED,)
    case.joins = [(chance.uniform(3.0, 20.0), TAGGED)]
    return case


def lost_with_both(seed: int, store: str) -> Case:
    """A process that serves both dies over a long task, and only others are left for either."""
    chance = random.Random(f"lost/{seed}")
    tasks = [["task", "work", f"n{number}", {"tag": TAG, "ms": 20_000}] for number in range(2)]
    right = [[f"n{number}", None] for number in range(2)]
    settings = Settings(strikes=1000, lost=1000)
    case = Case(seed, store, {"r1": (["gather", False, *tasks], right)}, calm(seed), settings)
    case.local, case.roles, case.replaces = True, (BOTH,), False
    case.events = [(chance.uniform(12.0, 18.0), "crash")]
    case.joins = [(11.0, UNTAGGED), (11.0, TAGGED)]
    return case


def retried_rounds(seed: int, store: str) -> Case:
    """A run is retried, while an attempt of the round before goes on at a process of the tag."""
    chance = random.Random(f"rounds/{seed}")
    long = ["task", "work", "n1", {"tag": TAG, "ms": chance.choice((4_000, 9_000))}]
    fails = ["task", "work", "n2", {"fails": chance.choice((1, 2)), "ms": 500, "tag": TAG}]
    program, right = ["gather", False, long, fails], [["n1", None], ["n2", None]]
    settings = Settings(strikes=1000, lost=1000)
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), settings, retries=True)
    case.local, case.roles = chance.random() < 0.5, (UNTAGGED, TAGGED, TAGGED)
    return case


def wide(seed: int, store: str) -> Case:
    """Many branches at once wait for tasks of the tag, of which few processes have room for few."""
    chance = random.Random(f"wide/{seed}")
    names = [f"n{number}" for number in range(30 + seed % 20)]
    tasks = [["task", "work", name, {"tag": TAG, "ms": chance.randint(5, 400)}] for name in names]
    right = [[name, None] for name in names]
    settings = Settings(strikes=1000, lost=1000, tasks=chance.choice((2, 5)))
    chaos = calm(seed) if chance.random() < 0.5 else Chaos(random.Random(seed), messages=0.3)
    case = Case(seed, store, {"r1": (["gather", False, *tasks], right)}, chaos, settings)
    case.local, case.roles = chance.random() < 0.5, chance.choice(ROLES)
    case.events = [(chance.uniform(0.5, 4.0), chance.choice(("crash", "pause", "close")))]
    return case


def removed(seed: int, store: str) -> Case:
    """Ended runs are removed, and messages of their tasks come late to who serves other tags."""
    chance = random.Random(f"removed/{seed}")
    case = ended(seed, store)
    case.roles = chance.choice(ROLES)
    case.programs = {
        run: with_tags(with_fan(whole, chance), chance) for run, whole in case.programs.items()
    }
    return case


TAGGED_SCENARIOS = {
    "runs with tags are removed": removed,
    "many tagged tasks wait": wide,
    "processes serve tags": tagged,
    "a tag is served late": joined_late,
    "who served both is lost": lost_with_both,
    "tagged tasks are retried": retried_rounds,
}

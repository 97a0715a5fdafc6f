"""Situations that are decided outside: machines call, people vote, people are told."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from rewake.engine.settings import Settings
from tests.simulation.calling import with_calls
from tests.simulation.case import Case, case_of
from tests.simulation.faults import TRANSACTIONS, calm, chaos_of
from tests.simulation.generate import Drawn
from tests.simulation.hearing import told_and_heard
from tests.simulation.telling import with_notices
from tests.simulation.voting import ballot


def called(seed: int, store: str) -> Case:
    """Machines call, beat and fall silent, while processes die and calls of the store are lost."""
    chance = random.Random(seed)
    parts = [with_calls((["value", number], number), chance) for number in range(3)]
    return _beset(seed, store, chance, parts, seconds=15.0)


def called_at_the_edge(seed: int, store: str) -> Case:
    """Machines call at about the deadline, and it takes a while until their run hears of it."""
    case, chance = called(seed + 1000, store), random.Random(seed)
    edges = [["call", f"edge-c{number}", {"timeout": 3}] for number in range(4)]
    case.seed, case.chaos.slow = seed, chance.choice((0.02, 0.2))
    case.programs = {"r1": (["gather", False, *edges], ["~" for _ in edges])}
    return case


def voted(seed: int, store: str) -> Case:
    """Several people vote, also at once, while processes die and calls of the store are lost."""
    chance = random.Random(seed)
    parts = [ballot(f"v{number}", chance) for number in range(4)]
    return _beset(seed, store, chance, parts, seconds=6.0)


def heard(seed: int, store: str) -> Case:
    """Events are published and waited for, while processes die and calls of the store are lost."""
    chance = random.Random(seed)
    parts = [told_and_heard(f"n{number}", chance) for number in range(4)]
    return _beset(seed, store, chance, parts, seconds=8.0)


def _beset(
    seed: int, store: str, chance: random.Random, parts: Sequence[Drawn], *, seconds: float
) -> Case:
    """All of these at once, in a run whose processes have trouble for so long."""
    program, right = ["gather", False, *(node for node, _ in parts)], [v for _, v in parts]
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    case = Case(seed, store, {"r1": (program, right)}, chaos, settings, replicas=2)
    case.local, case.lag = chance.random() < 0.5, chance.choice((0, 300))
    kinds = ("crash", "stall", "pause", "heart", "close", "loop")
    case.events = [(chance.uniform(0.0, seconds), chance.choice(kinds)) for _ in range(3)]
    return case


def told(seed: int, store: str) -> Case:
    """People are told of approvals, while processes die and calls of the store are lost."""
    chance = random.Random(f"told/{seed}")
    case = case_of(seed, store)
    case.workflow, case.kills = "main", {}
    case.programs = {"r1": with_notices((["value", 1], 1), chance)}
    if chance.random() < 0.3:
        case.cancels = {"r1": chance.uniform(0.1, 5.0)}
    return case


def cancelled_at_a_lap(seed: int, store: str) -> Case:
    """A run is cancelled as one of its laps ends, while every call takes its time."""
    chance = random.Random(f"cancelled at a lap/{seed}")
    lap = ["seq", ["task", "retried", "e0", {"ms": 100}], ["hear", "ask-l", 1]]
    program = ["laps", 5, lap, ["task", "work", "left", {"hangs": -1}]]
    right = [["e0", None], ["heard", "ask-l", [4]]]
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    case = Case(seed, store, {"r1": (program, right)}, calm(seed), settings)
    case.chaos.slow, case.cancels = 0.5, {"r1": chance.uniform(0.2, 6.0)}
    return case


def queued(seed: int, store: str) -> Case:
    """A queue carries the messages, and keeps those that are sent ahead; some are lost."""
    case = case_of(seed, store)
    case.local, case.queued = False, True
    return case


OUTSIDE_SCENARIOS: Mapping[str, Callable[[int, str], Case]] = {
    "events are heard": heard,
    "several people vote": voted,
    "machines call": called,
    "machines call at the last moment": called_at_the_edge,
    "a run is cancelled at a lap": cancelled_at_a_lap,
}

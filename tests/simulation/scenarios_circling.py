"""Situations of runs that wait for one another, while processes die and messages are lost."""

from __future__ import annotations

import random

from rewake.engine.settings import Settings
from tests.simulation.case import Case
from tests.simulation.circling import ring_of_ends, ring_of_limits
from tests.simulation.faults import CALL_FAULTS, TRANSACTIONS, chaos_of


def ringed(seed: int, store: str) -> Case:
    """A ring of ends, or of limits, with much that goes wrong as it closes and as it is found."""
    seed += 25  # the first that meet all moments
    chance = random.Random(f"ringed/{seed}")
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    program = ["task", "work", "n1", {}], ["n1", None]
    case = Case(seed, store, {"r1": program}, chaos, settings)
    case.ring = chance.choice((ring_of_ends, ring_of_limits))(chance)
    case.local, case.replicas = chance.random() < 0.5, chance.choice((1, 2, 3))
    case.lag = chance.choice((0, 0, 300))
    for _ in range(chance.randint(0, 4)):
        place = chance.choice(("get H", "update H", "query O", "update F"))
        case.chaos.planned[place, chance.randint(5, 40)] = chance.choice(CALL_FAULTS)
    for _ in range(chance.randint(0, 3)):
        kind = chance.choice(("crash", "crash", "stall", "pause", "close"))
        case.events.append((chance.uniform(0, 14), kind))
    return case

"""Situations in which ended runs are removed."""

from __future__ import annotations

import random

from rewake.engine.settings import Settings
from tests.simulation.case import Case, case_of
from tests.simulation.faults import TRANSACTIONS, calm, chaos_of
from tests.simulation.generate import Err
from tests.simulation.removing import KEEP, SHORT

PATIENT = Settings(strikes=1000, lost=1000)


def removed(seed: int, store: str) -> Case:
    """Ended runs are removed, and processes die over that."""
    case = case_of(seed, store)
    case.jumpy, case.cancels = False, {}
    case.events = []
    case.keep = KEEP
    return case


def retried_and_removed(seed: int, store: str) -> Case:
    """Failed runs are retried while they are removed."""
    chance = random.Random(seed)
    task = ["task", "work", "n1", {"fails": chance.randint(1, 3)}]
    program = ["seq", ["task", "work", "n0", {"big": True}], task]
    case = Case(seed, store, {"r1": (program, Err("n1"))}, calm(seed), PATIENT, replicas=2)
    case.local, case.keep = chance.random() < 0.5, KEEP
    return case


def keyed(seed: int, store: str) -> Case:
    """People start by one key, whose runs are removed soon after their ends."""
    chance = random.Random(seed)
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    chaos.until, chaos.rate, chaos.budget = 250.0, 0.01, 20
    chaos.outage = None
    case = Case(seed, store, {}, chaos, PATIENT, replicas=3)
    case.local, case.keep, case.keyed = chance.random() < 0.5, SHORT, True
    kinds = ("crash", "stall", "pause", "close")
    case.events = [(chance.uniform(0.0, 250.0), chance.choice(kinds)) for _ in range(6)]
    return case

"""Situations of runs that wait for all of many, whose arrivals are counted beside their header."""

from __future__ import annotations

import random

from rewake.engine.settings import Settings
from tests.simulation.case import Case
from tests.simulation.fanning import fan
from tests.simulation.faults import TRANSACTIONS, chaos_of


def counted(seed: int, store: str) -> Case:
    """A run waits for all of many, alone or beside other things, while much goes wrong."""
    chance = random.Random(f"counted/{seed}")
    (one, first), (other, second) = fan("a", chance), fan("b", chance)
    nap, asks = ["sleep", chance.choice((300, 6_000))], ["approve", "yes-n1", None]
    program, right = chance.choice(
        (
            (one, first),
            (["seq", one, other], [first, second]),
            (["gather", False, one, nap], [first, True]),
            (["gather", False, other, one], [second, first]),
            (["gather", False, one, asks], [first, ["approval", "approved", "n1"]]),
            (["gather", False, one, ["step", "s1", {"ms": 1_500}]], [first, ["s1", None]]),
        )
    )
    chaos = chaos_of(chance, transactions=store in TRANSACTIONS, big=False)
    settings = Settings(strikes=1000, lost=1000, cached=chance.choice((0, 256)))
    case = Case(seed, store, {"r1": (program, right)}, chaos, settings)
    case.replicas, case.local = chance.choice((1, 2, 3)), chance.random() < 0.4
    case.lag = chance.choice((0, 300))
    kinds = ("crash", "crash", "stall", "pause", "heart", "close", "loop")
    for _ in range(chance.randint(0, 4)):
        case.events.append((chance.uniform(0.0, 8.0), chance.choice(kinds)))
    if chance.random() < 0.15:
        case.cancels = {"r1": chance.uniform(0.0, 6.0)}
    return case


def counted_and_retried(seed: int, store: str) -> Case:
    """A task fails, and its run is retried: outcomes of two rounds are counted."""
    case, chance = counted(seed, store), random.Random(f"counted again/{seed}")
    case.programs = {"r1": fan("c", chance, fails=True)}
    case.retries, case.cancels = True, {}
    return case


def counted_slowly(seed: int, store: str) -> Case:
    """Each call takes its time, and holders stand still: openings and closings meet."""
    case = counted(seed + 5_000, store)
    case.seed, case.chaos.slow, case.replicas = seed, 0.6, 3
    calls = ("update H", "update J") if store not in TRANSACTIONS else ("together ",)
    chance = random.Random(f"counted slowly/{seed}")
    kinds = ("stall", "told-failed", "crash-after", "crash-before", "before")
    for _ in range(6):
        case.chaos.planned[chance.choice(calls), chance.randint(1, 30)] = chance.choice(kinds)
    return case


def counted_late(seed: int, store: str) -> Case:
    """Tasks are long, so that each looks after itself, and openings stand still until overtaken."""
    case, chance = counted(seed, store), random.Random(f"counted late/{seed}")
    tasks = [["work", f"l{n}", {"ms": chance.randint(6_000, 20_000)}] for n in range(8)]
    right = [[f"l{n}", None] for n in range(8)]
    case.programs = {"r1": (["gather", False, ["fan", *tasks], ["sleep", 9_000]], [right, True])}
    case.cancels, case.replicas, case.chaos.slow = {}, 2, chance.choice((0.0, 0.3))
    case.chaos.messages, case.chaos.until, case.events = 0.0, 200.0, []
    call = "update J" if store not in TRANSACTIONS else "together "
    case.chaos.planned = {(call, chance.randint(1, 16)): "stall" for _ in range(3)}
    return case

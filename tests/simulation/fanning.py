"""Wide fan-outs, whose arrivals join items count: programs that have one, drawn apart."""

from __future__ import annotations

import random
from typing import Any

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

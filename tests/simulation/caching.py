"""Tasks whose results are cached: parts of programs that several ask for at once.

`["same", times, node]` runs a node so many times, and comes to what each of them does. All but the
first may be given its result; one that fails is carried out again, by another of them.
"""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

from rewake import task
from tests.simulation.generate import Drawn
from tests.simulation.programs import CACHED, body

_HOUR = timedelta(hours=1)


@task(cache=_HOUR)
async def work_once(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(cache=_HOUR, retries=1, delay=0.3)
async def retried_once(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


CACHED |= {"work": work_once, "retried": retried_once}


def with_cache(whole: Drawn, chance: random.Random) -> Drawn:
    """A program in which some tasks are asked for several times, and cached."""
    program, right = whole
    return _cached(program, chance), right


def _cached(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", "work" | "retried" as kind, str() as name, dict() as plan]:
            apart = {"hangs", "tag", "limited", "feed", "kills", "emits"} & plan.keys()
            if apart or plan.get("fails", 0) < 0 or chance.random() < 0.3:
                return node
            made = ["task", kind, name, {**plan, "cached": True}]
            return ["same", chance.choice((1, 2, 3)), made]
        case ["fan" | "keyed" | "block", *_]:
            return node
        case list():
            return [_cached(part, chance) for part in node]
        case _:
            return node

"""Blocks, groups that bear failures, and steps that run at most once a try: drawn into programs.

    ["block", name, fails, node]  the node as a block, whose first attempts fail behind it
    ["outcomes", *nodes]          the nodes at once, of which all may fail
    ["step", name, {"again": n}]  at most once, with so many retries

A program comes to the same with them, whatever goes wrong.
"""

from __future__ import annotations

import random
from typing import Any

from tests.simulation.generate import Drawn


def with_groups(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, with some of its parts as groups."""
    program, right = drawn
    return _grouped(program, chance), right


def _grouped(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", _, str(), dict() as plan] if "feed" not in plan and chance.random() < 0.4:
            return _block(node, chance)
        case ["step", str() as name, dict() as plan] if plan.get("once"):
            return ["step", name, {**plan, "again": chance.randint(1, 3)}]
        case ["gather", True, *parts]:
            return ["outcomes", *(_grouped(part, chance) for part in parts)]
        case ["gather", False, *parts] if _is_plain(parts) and chance.random() < 0.6:
            return _block(["gather", False, *parts], chance)
        case ["seq" | "group" | "undo" | "race" | "first", *parts]:
            return [node[0], *(_grouped(part, chance) for part in parts)]
        case ["parallel", items, concurrency, part]:
            return ["parallel", items, concurrency, _grouped(part, chance)]
        case _:
            return node


def _block(node: list[Any], chance: random.Random) -> list[Any]:
    return ["block", chance.choice(("b", "trip")), chance.choice((0, 0, 1, 2)), node]


def _is_plain(parts: list[Any]) -> bool:
    """Whether these are tasks alone, whose results do not depend on what came before."""
    return all(part[0] == "task" and "feed" not in part[3] for part in parts)

"""Programs whose tasks share limits, and what must be true of limits after every write.

No more hold a limit than it allows; a task that is limited is claimed only while it holds all of
them; and once all runs have ended, nobody holds anything, and nobody waits.
"""

from __future__ import annotations

import random
from typing import Any

from rewake import concurrency, rate, task
from rewake.ledger import Limit
from rewake.limited import LimitKind, in_order
from rewake.records import Operation
from rewake.stores.books import held_by
from tests.simulation.generate import Drawn
from tests.simulation.programs import LIMITED, body

_KINDS = ("work", "retried", "timed")


@task(limits=[concurrency(1, key=lambda name: name[-1], name="odd"), concurrency(2, name="two")])
async def work_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(limits=[concurrency(2, name="two"), rate(20, per=1)], retries=1, delay=0.3)
async def retried_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(limits=concurrency(2, name="two"), priority=1, retries=8, delay=0.5, max_delay=1, timeout=1.5)
async def timed_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


LIMITED |= {"work": work_in_turn, "retried": retried_in_turn, "timed": timed_in_turn}


def with_limits(whole: Drawn, chance: random.Random) -> Drawn:
    """A program in which tasks that end by themselves share limits."""
    program, right = whole
    return _limited(program, chance), right


def _limited(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", str() as kind, str() as name, dict() as plan] if kind in _KINDS:
            free = "hangs" in plan or "tag" in plan or chance.random() < 0.2
            return ["task", kind, name, plan if free else {**plan, "limited": True}]
        case list():
            return [_limited(part, chance) for part in node]
        case _:
            return node


class Limits:
    """The limits as the writes tell them."""

    def __init__(self) -> None:
        self.known: dict[str, Limit] = {}

    def wrote(self, limit: Limit) -> str:
        """What is wrong with a limit that was written; empty: nothing."""
        self.known[limit.id] = limit
        names = [(each.run, each.key) for each in limit.holders]
        if limit.kind == LimitKind.CONCURRENCY and len(names) > limit.count:
            return f"{limit.name}: {len(names)} hold it, and {limit.count} may"
        return f"{limit.name}: one holds it twice" if len({*names}) < len(names) else ""

    def claimed(self, task: Operation) -> str:
        """What is wrong with the claim of a task; empty: nothing."""
        for limit in in_order(task.terms.limits, LimitKind.CONCURRENCY):
            book = self.known.get(limit.id)
            if book is None or held_by(book, task.run, task.key) is None:
                return f"run {task.run}: {task.key} was begun, and not let in by {limit.name}"
        return ""

    def left(self) -> str:
        """What is left of limits once all is over; empty: nothing."""
        held = [book.name for book in self.known.values() if book.holders]
        return f"all is over, and somebody holds {held}" if held else ""

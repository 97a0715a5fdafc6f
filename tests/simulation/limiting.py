"""Programs whose tasks share limits, and what must be true of limits after every write.

No more hold a limit than it allows; a task that is limited is claimed only while it holds all of
them; and once all runs have ended, nobody holds anything, and nobody waits. Of a cached task nobody
makes what is there, and who is given a result is given one that was kept.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from typing import Any

from msgspec.structs import replace

from rewake import concurrency, rate, task
from rewake.ledger import Limit
from rewake.limited import LimitKind, cached_by, in_order
from rewake.records import Entry, Header, Operation, Scheduled, Started
from rewake.states import RunState
from rewake.stores.books import held_by
from tests.simulation.generate import Drawn
from tests.simulation.programs import LIMITED, body

CACHED_FOR = 2
_SKEW = 500
"""How far the clocks of two processes may be apart, in ms."""
_KINDS = ("work", "retried", "timed")
_PLACES = (LimitKind.CACHE, LimitKind.CONCURRENCY)
_HELD = (*_PLACES, LimitKind.SINGLETON)


@task(limits=[concurrency(1, key=lambda name: name[-1], name="odd"), concurrency(2, name="two")])
async def work_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(limits=[concurrency(2, name="two"), rate(20, per=1)], retries=1, delay=0.3)
async def retried_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(limits=concurrency(2, name="two"), priority=1, retries=8, delay=0.5, max_delay=1, timeout=1.5)
async def timed_in_turn(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


@task(cache=CACHED_FOR, retries=8, delay=0.5, max_delay=1)
async def made_once(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await body(name, plan, argument)


LIMITED |= {"work": work_in_turn, "retried": retried_in_turn, "timed": timed_in_turn}
LIMITED["made"] = made_once


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


def is_let_in(header: Header, before: list[Entry], after: list[Entry]) -> bool:
    """Whether a run has done nothing but wait, and is let in, or begins with what came since."""
    admission = header.admission
    match before, after:
        case [Started() as first], [Started() as begins] if admission is not None:
            gathers = header.state is RunState.DELAYED and bool(admission.joined)
            return gathers or replace(first, clock=begins.clock) == begins
    return False


class Limits:
    """The limits as the writes tell them."""

    def __init__(self, *, jumpy: bool = False) -> None:
        self._jumpy = jumpy
        self.known: dict[str, Limit] = {}
        self.kept: defaultdict[str, set[str]] = defaultdict(set)
        self.let_in = set[tuple[str, str, str]]()
        self.used = Counter[str]()

    def wrote(self, limit: Limit) -> str:
        """What is wrong with a limit that was written; empty: nothing."""
        old = self.known.get(limit.id)
        self.known[limit.id] = limit
        self.used[limit.kind] += 1
        if limit.kept is not None:
            self.kept[limit.id].add(limit.kept.run)
        if old is not None and old.kept is not None and len(limit.holders) > len(old.holders):
            over = self._jumpy or old.kept.at + limit.per <= limit.written + _SKEW
            return "" if over else f"{limit.name} is made, and what {old.kept.run} made is there"
        names = [(each.run, each.key) for each in limit.holders]
        self.let_in.update((limit.id, *name) for name in names)
        most = 1 if limit.kind == LimitKind.CACHE else limit.count
        if limit.kind in _HELD and len(names) > most:
            return f"{limit.name}: {len(names)} hold it, and {most} may"
        return f"{limit.name}: one holds it twice" if len({*names}) < len(names) else ""

    def claimed(self, task: Operation) -> str:
        """What is wrong with the claim of a task; empty: nothing."""
        for limit in (each for kind in _PLACES for each in in_order(task.terms.limits, kind)):
            book = self.known.get(limit.id)
            held = book is not None and held_by(book, task.run, task.key) is not None
            # By another clock it had its place for long and did not begin, so that it was taken.
            held |= self._jumpy and (limit.id, task.run, task.key) in self.let_in
            if not held:
                return f"run {task.run}: {task.key} was begun, and not let in by {limit.name}"
        return ""

    def given(self, task: Operation, asked: Scheduled | None) -> str:
        """What is wrong with the result that a task was given; empty: nothing, or it made its own.

        `asked`: how it was asked for, if its run waits for it.
        """
        limit = None if asked is None else cached_by(asked.terms)
        of = "" if task.outcome is None else task.outcome.cached
        if limit is None or not of or of in self.kept[limit.id]:
            return ""
        return f"run {task.run}: {task.key} was given what {of} has not kept"

    def left(self) -> str:
        """What is left of limits once all is over; empty: nothing."""
        held = [book.name for book in self.known.values() if book.holders]
        return f"all is over, and somebody holds {held}" if held else ""

"""Runs that wait for one another in a circle, beside the programs; and who is told so, and when.

Each run of a ring waits for the next one's end, the last for the first one's; or it holds one side
and calls what needs the next side. In some rings one run may go on by something else: nobody there
is ever told. In every other one wait fails, and all runs come to an end.

    link    a ring of ends: `plan` says of each what it does beside waiting
    tail    it waits for a run of the ring, and nobody waits for it
    holds   a ring of limits: it holds a side, and calls a task or a run that needs another one
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rewake import concurrency, sleep, task, wait_for_signal, workflow
from rewake.errors import TaskError
from rewake.kinds import Kind
from rewake.limited import LimitKind, Terms, in_order
from rewake.records import Failure, Operation
from rewake.states import RunState

if TYPE_CHECKING:
    from tests.simulation.known import Run
    from tests.simulation.limiting import Limits

TOLD, WENT_ON, TAIL = "told", "went on", "tail"
PLAIN, LATE, NAPS, HEARS, GIVES_UP = "plain", "late", "naps", "hears", "gives up"
OPEN = (NAPS, HEARS, GIVES_UP)
"""What lets a run of a ring go on by itself."""
GO = "go"
SOON, LONG = 2.5, 9.5
"""Seconds: until who is late begins to wait, and until who may go on does."""
SIDES = ("a", "b", "c")
_WAIT = (RunState.PARKED, RunState.READY, RunState.RUNNING)
FOR_EVER = "it would wait for ever"


def name_of(at: int) -> str:
    """The id of a run of the ring."""
    return f"ring-{at}"


@workflow
async def link(plan: list[str], at: int) -> list[str]:
    how, after = plan[at], (at + 1) % len(plan)
    if how == LATE:
        await sleep(SOON)
    handle = await link.start(plan, after, id=name_of(after))
    try:
        if how in (NAPS, HEARS):
            other = sleep(LONG) if how == NAPS else wait_for_signal(GO)
            end, over = asyncio.ensure_future(handle.result()), asyncio.ensure_future(other)
            await asyncio.wait((end, over), return_when=asyncio.FIRST_COMPLETED)
            return [WENT_ON] if over.done() else [*await end, name_of(at)]
        async with asyncio.timeout(LONG if how == GIVES_UP else None):
            return [*await handle.result(), name_of(at)]
    except TimeoutError:
        return [WENT_ON]
    except TaskError as error:
        return [TOLD, error.type]


@workflow
async def tail(plan: list[str], at: int) -> list[str]:
    handle = await link.start(plan, at, id=name_of(at))
    return [*await handle.result(), TAIL]


def _side(side: str) -> str:
    return side


_ALONE = concurrency(1, name="side", key=_side)


@task(limits=_ALONE)
async def needs(side: str) -> str:
    return side


@workflow(limits=_ALONE)
async def holds(side: str, other: str, call: str) -> list[str]:
    if not other:
        return [side]
    await sleep(SOON)
    try:
        if call == "task":
            return [side, await needs(other)]
        return [side, *await holds(other, "", "")]
    except TaskError as error:
        return [TOLD, error.type]


RINGED = (link, tail, holds)
NAMES = tuple(each.name for each in RINGED)


@dataclass(frozen=True)
class Begun:
    """One run that people begin: of which workflow, after how many seconds, and with what."""

    workflow: str
    run: str
    after: float
    given: Mapping[str, Any]


@dataclass(frozen=True)
class Ring:
    """Runs that people begin. `plan`: what those of a ring of ends do; empty: it is of limits."""

    begun: Sequence[Begun] = ()
    plan: Sequence[str] = ()
    hears: Sequence[str] = ()

    @property
    def closes(self) -> bool:
        """Whether nobody in a ring of ends goes on by itself."""
        return bool(self.plan) and not set(self.plan).intersection(OPEN)


NO_RING = Ring()
"""Most simulations have none."""


def ring_of(seed: int) -> Ring:
    """The ring of a seed: most have none."""
    chance = random.Random(f"ring/{seed}")
    if chance.random() >= 0.06:
        return NO_RING
    return chance.choice((ring_of_ends, ring_of_ends, ring_of_limits))(chance)


def ring_of_ends(chance: random.Random) -> Ring:
    """Some runs, each of which waits for the end of the next."""
    size = chance.randint(2, 4)
    plan = [chance.choice((PLAIN, PLAIN, LATE)) for _ in range(size)]
    if chance.random() < 0.3:
        plan[chance.randrange(size)] = chance.choice(OPEN)
    begins = chance.sample(range(size), chance.choice((1, 1, 2)))
    begun = [
        Begun(link.name, name_of(at), chance.uniform(0, 2), {"plan": plan, "at": at})
        for at in begins
    ]
    if chance.random() < 0.3:
        given = {"plan": plan, "at": chance.randrange(size)}
        begun.append(Begun(tail.name, TAIL, chance.uniform(0, 4), given))
    hears = [name_of(at) for at, how in enumerate(plan) if how == HEARS]
    return Ring(begun, plan, hears)


def ring_of_limits(chance: random.Random) -> Ring:
    """Some runs that hold a side each, and call what needs that of the next."""
    sides = SIDES[: chance.choice((2, 2, 3))]
    begun = [
        Begun(
            holds.name,
            f"side-{side}",
            chance.choice((0.0, 0.1, chance.uniform(0, 2))),
            {"side": side, "other": other, "call": chance.choice(("task", "run"))},
        )
        for side, other in zip(sides, (*sides[1:], sides[0]), strict=True)
    ]
    return Ring(begun)


class Circles:
    """Who is told that it would wait for ever, as the writes tell it: only who would.

    `told`: the operations that were told so.
    """

    def __init__(self, runs: Mapping[str, Run], limits: Limits) -> None:
        self._runs, self._limits = runs, limits
        self.told: set[tuple[str, str]] = set()

    def ended(self, item: Operation) -> str:
        """What is wrong with an operation that was written; empty: nothing."""
        origin = None if item.outcome is None else item.outcome.origin
        told = isinstance(origin, Failure) and FOR_EVER in origin.message
        if not told or (item.run, item.key) in self.told:
            return ""
        self.told.add((item.run, item.key))
        left, seen = [item.run], set[str]()
        while left:
            name = left.pop()
            for wait in self._waits(name, item):
                if not wait:
                    return f"run {item.run} was told that it waits for ever, and {name} may go on"
                left += [wait] if wait not in seen else []
                seen.add(wait)
        return "" if item.run in seen else f"run {item.run} was told so, and waits in no circle"

    def _waits(self, name: str, told: Operation) -> Iterator[str]:
        """The runs whose ends a run waits for; an empty name: something else."""
        run = self._runs.get(name)
        # A message that is doubled lets one run that does not go on.
        if run is None or run.header.state not in _WAIT or run.header.wake is not None:
            yield ""
            return
        admission = run.header.admission
        if admission is not None and not admission.inside:
            yield from self._holders(admission.terms)
        elif not run.open:
            yield ""
        for key, asked in run.open.items():
            ended = run.has_outcome(asked) and (name, key) != (told.run, told.key)
            if asked.kind in (Kind.CHILD, Kind.CHILD_RESULT) and asked.about and not ended:
                yield asked.about.run
            elif asked.kind is Kind.TASK and not ended:
                yield from self._holders(asked.terms)
            else:
                yield ""

    def _holders(self, terms: Terms) -> Iterator[str]:
        for limit in in_order(terms.limits, LimitKind.CONCURRENCY):
            book = self._limits.known.get(limit.id)
            holders = [] if book is None else book.holders
            full = len(holders) >= limit.count and not any(each.key for each in holders)
            yield from (each.run for each in holders) if full else [""]

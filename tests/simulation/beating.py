"""Programs whose tasks tell how far they are, and what must be true of that after every write.

What is kept of a task was told by its newest attempt, or by one before that. An attempt that fails,
or falls silent, in a process that lives leaves what it has told last. Only success takes it away.
An attempt finds what was kept when it was claimed.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from typing import Any

from rewake import task, task_context
from rewake.kinds import OutcomeKind, Purpose
from rewake.records import Operation
from rewake.signing.secret import Secret
from rewake.testing.loop import OWNER
from rewake.values.run_codec import RunCodec
from tests.simulation.faults import Chaos
from tests.simulation.generate import Drawn
from tests.simulation.programs import BEATING, NEVER, WORLD, begin, fail

_KINDS = ("work", "retried", "timed")
_SILENT = 1.5
"""Seconds of silence after which an attempt is given up."""


async def beats(name: str, plan: dict[str, Any], argument: Any) -> Any:
    """Tell of each part; the first attempts hang in the middle, and may fail at the end."""
    tries, context = begin(argument), task_context()
    inside = OWNER.get() is not None
    if inside:
        WORLD[-1].watch.beats.found(context.run, context.key, context.attempt, context.progress)
    count = plan["beats"]
    for number in range(count):
        if tries <= plan.get("silent", 0) and number == count // 2:
            await asyncio.sleep(NEVER)
        await asyncio.sleep(plan["every"] / 1000)
        context.heartbeat([context.attempt, number])
        if inside:
            WORLD[-1].watch.beats.told[context.run, context.key, context.attempt] = number
    fail(name, plan, tries)
    return [name, argument]


@task(heartbeat=_SILENT, delay=0.2)
async def work_beating(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await beats(name, plan, argument)


@task(heartbeat=_SILENT, retries=1, delay=0.3)
async def retried_beating(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await beats(name, plan, argument)


@task(heartbeat=_SILENT, retries=8, delay=0.5, max_delay=1, timeout=60)
async def timed_beating(name: str, plan: dict[str, Any], argument: Any) -> Any:
    return await beats(name, plan, argument)


BEATING |= {"work": work_beating, "retried": retried_beating, "timed": timed_beating}


MOST_OF_MANY = 6
"""Beats of an attempt that fails, as all those after it will: so that they end in time."""


def with_beats(whole: Drawn, chance: random.Random) -> Drawn:
    """A program in which tasks that end by themselves tell how far they are."""
    program, right = whole
    return _beating(program, chance), right


def _beating(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", str() as kind, str() as name, dict() as plan] if kind in _KINDS:
            other = {"hangs", "tag", "limited", "pad", "big", "feed", "emits"} & plan.keys()
            if other or chance.random() < 0.2:
                return node
            told = {"beats": chance.choice((1, 2, 6, 30)), "every": chance.choice((50, 400))}
            if plan.get("fails", 0) < 0:
                told["beats"] = min(told["beats"], MOST_OF_MANY)
            silent = chance.choice((0, 0, 1, 2))
            return ["task", kind, name, {**plan, **told, "silent": silent}]
        case list():
            return [_beating(part, chance) for part in node]
        case _:
            return node


class Progress:
    """What tasks have told, as their bodies and the writes tell it."""

    def __init__(self, read: Callable[[Operation], Any], chaos: Chaos) -> None:
        self._read = read
        self._chaos = chaos
        self.told: dict[tuple[str, str, int], int] = {}
        self.silent = Counter[tuple[str, str]]()
        self._kept: dict[tuple[str, str], tuple[int, Any]] = {}
        self.wrong = ""

    def found(self, run: str, key: str, attempt: int, progress: Any) -> None:
        """An attempt begins, with what it found."""
        number, kept = self._kept.get((run, key), (0, None))
        if number == attempt and progress != kept:
            self.wrong = f"run {run}: attempt {attempt} at {key} found {progress}, and not {kept}"

    def wrote(self, old: Operation | None, new: Operation) -> str:
        """What is wrong with the item of a task that was written; empty: nothing."""
        here, wrong = (new.run, new.key), self.wrong
        told = None if new.progress is None else self._read(new)
        before = None if old is None or old.progress is None else self._read(old)
        known = told in (before, self._kept.get(here, (0, None))[1])
        # One that has ended may still be found by an attempt that was claimed before.
        self._kept[here] = (0 if new.outcome is not None else new.number, told)
        if not known and told is not None and told[0] != new.number:
            wrong = f"attempt {told[0]} tells {told} of {here}, and {new.number} is the newest"
        worked = new.outcome is not None and new.outcome.kind is OutcomeKind.OK
        if before is not None and told is None and not worked:
            wrong = f"what was told of {here} is forgotten: {before}"
        if old is None or new.owner or not old.owner or new.outcome is not None:
            return wrong
        newest = new.tries[-1] if new.tries else None
        if newest is None or newest.attempt != new.number or newest.type not in ("silent", "Boom"):
            return wrong
        self.silent[here] += newest.lost
        last = self.told.get((*here, new.number))
        is_away = self._chaos.fired["codec", "away"] > 0  # then it goes on without what it tells
        if last is not None and told != [new.number, last] and not is_away:
            wrong = f"{here}: attempt {new.number} has told {last}, and {told} is kept"
        return wrong


def reading(secret: Secret) -> Callable[[Operation], Any]:
    """What reads the progress that an item has."""

    def read(item: Operation) -> Any:
        assert item.progress is not None
        codec = RunCodec(secret, item.run)
        return codec.decode(item.progress, key=item.key, purpose=Purpose.PROGRESS)

    return read

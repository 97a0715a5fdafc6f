"""What runs emit, and those who follow them: from any process, by a cursor, whatever goes wrong.

Items count, so that one that is lost, doubled or out of order is seen. Those of a body are
`["body", n]`, n from 0 (a retry goes on from before what it cut off); those of an attempt are
`[name, attempt, n, of]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from rewake.engine.engine import Engine
from rewake.errors import RunNotFound, StoreError
from rewake.kinds import OutcomeKind
from rewake.stores.history import History
from rewake.stores.places import cursor_of, first_place, place_of
from rewake.stores.told import Page, Telling, Told, read_page
from rewake.values.run_codec import RunCodec
from tests.simulation.generate import Drawn
from tests.simulation.world import SECRET, Gone, World
from tests.support.stores import reads_of

if TYPE_CHECKING:
    from tests.simulation.known import Run

LIMITS = (1, 3, 500)
BODY = "body"


def with_items(drawn: Drawn, chance: random.Random) -> Drawn:
    """The program, which comes to the same and emits on the way."""
    program, right = drawn
    return ["emitting", _emitting(program, chance)], right


def _emitting(node: Any, chance: random.Random) -> Any:
    match node:
        case ["task", str() as kind, str() as name, dict() as plan]:
            return ["task", kind, name, {**plan, "emits": chance.randint(0, 4)}]
        case ["step", str() as name, dict() as plan]:
            return ["step", name, {**plan, "emits": chance.randint(0, 4)}]
        case ["seq" | "gather" | "group" | "undo", *parts]:
            made = [node[0], *(_emitting(part, chance) for part in parts)]
            return ["emitting", made] if chance.random() < 0.5 else made
        case _:
            return node


class Reader:
    """Somebody who follows a run until it has ended, each page from any process that lives."""

    def __init__(self, world: World, run: str) -> None:
        self._world = world
        self._run = run
        self._cursor = ""
        self.told: list[Told] = []

    async def follow(self) -> None:
        """Follow it, until nothing more is asked of anybody."""
        while True:
            with contextlib.suppress(StoreError, RunNotFound, Gone):
                self._take(await self._world.ask(self._page))
            await asyncio.sleep(self._world.random.choice((0.05, 0.5, 2.0)))

    async def read_all(self) -> list[Told]:
        """All that is stored, to the end."""
        store, more = reads_of(self._world.base), True
        while more:
            page = await read_page(store, self._run, self._place(), 500)
            self._take(page)
            more = page.more
        return self.told

    async def _page(self, engine: Engine) -> Page:
        limit = self._world.random.choice(LIMITS)
        return await engine.services.streams.follow(self._run, self._place(), limit)

    def _take(self, page: Page) -> None:
        self._world.followed += 1
        self.told += [told for told, _ in page.told]
        self._cursor = cursor_of(page.place)

    def _place(self) -> Any:
        return place_of(self._run, self._cursor) if self._cursor else first_place(self._run)


class Readers:
    """The readers of one run, and what they must have got."""

    def __init__(self, world: World, run: str) -> None:
        self._world = world
        self._run = run
        self._readers = [Reader(world, run) for _ in range(2)]
        for each in self._readers:
            world.spawn(each.follow())

    async def judge(self, run: Run) -> None:
        """Each has got every item once, and each writer's in order."""
        history = await reads_of(self._world.base).history(run.header)
        late = Reader(self._world, self._run)
        whole = _items(self._run, await late.read_all())
        self._judge_attempts(run, history, whole)
        for reader in [late, *self._readers]:
            told = await reader.read_all()
            got = _items(self._run, told)
            if got != whole:
                self._fail(f"a reader got {got}, and there is {whole}")
            state = [each.state for each in told if each.what is Telling.STATE][-1:]
            if state != [run.header.state.said]:
                self._fail(f"a reader was told {state}, and it is {run.header.state}")

    def _judge_attempts(self, run: Run, history: History, whole: _Items) -> None:
        for (key, attempt), items in whole.items():
            if key == BODY:
                numbers = [each[1] for each in items]
                if numbers != list(range(numbers[0], numbers[0] + len(items))):
                    self._fail(f"round {attempt} of its body emitted {numbers}")
            elif [each[2] for each in items] != list(range(len(items))):
                self._fail(f"attempt {attempt} at {key} emitted {items}")
        rounds = sorted(attempt for key, attempt in whole if key == BODY)
        ends = [(whole[BODY, n][0][1], whole[BODY, n][-1][1] + 1) for n in rounds]
        starts = [0, *(end for _, end in ends)]
        if any(begin > before for (begin, _), before in zip(ends, starts, strict=False)):
            self._fail(f"its rounds emitted {ends}")
        for key, item in history.operations.items():
            outcome = item.outcome
            if outcome is not None and outcome.kind is OutcomeKind.OK:
                self._judge_outcome(key, whole)

    def _judge_outcome(self, key: str, whole: _Items) -> None:
        attempts = [items for (of, _), items in whole.items() if of == key]
        said = self._world.said[self._run, key]
        if said and not any(len(items) == items[0][3] for items in attempts):
            self._fail(f"{key} has succeeded, and no attempt has emitted all: {attempts}")

    def _fail(self, what: str) -> None:
        self._world.watch.fail(f"run {self._run}: {what}")


_Items = dict[tuple[str, int], list[Any]]


def _items(run: str, told: list[Told]) -> _Items:
    """The items, by who has emitted them: the body in a round, or an attempt."""
    codec, found = RunCodec(SECRET, run), defaultdict[tuple[str, int], list[Any]](list)
    for each in told:
        if each.what is Telling.ITEM and each.value is not None:
            value = codec.decode(each.value, key=each.key, purpose="emitted")
            who = BODY if value[0] == BODY else each.key
            found[who, each.attempt].append(value)
    return dict(found)

"""Blocks: groups of operations whose result is kept as one, and whose inside is then passed over.

A block is an operation whose work is other operations: the keys of these begin with its own and the
number of the attempt (`trip[0]/book`). When its function has ended, that is an event at once
(`BlockEnded`), and only by it does the workflow observe what came of the block. So where it has
succeeded, that event is all that a replay needs. It *passes over* what the block did inside:
nothing of it is asked for or compared, and its code may be another by now. One that has failed is
replayed, for what undoes it (a saga) may know what it had done.

That must make no difference to what is outside. So

- what is random, or counted, belongs to an attempt (`Inside`) and not to the run;
- an attempt ends what it has left open: branches, operations, generators;
- a block is passed over only where its part of the history is apart: a segment whose event is
  inside has commands of the inside alone, and those in other segments were asked for together with
  the block. Where a body lets inside and outside meet (by an `asyncio.Event`, say), or a path was
  too long to tell, all of it is replayed. So is a block with operations that later ones of the run
  depend on (`Traits.remembered`: it has answered its caller, or heard an event).

What a function changes outside of itself other than by its result (a list that it appends to) is
not there after a replay; `authoring/block.py` warns of what it sees of that.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from rewake.kinds import Kind, OutcomeKind
from rewake.laps import within_lap
from rewake.noted import BlockEnded, Cause
from rewake.records import Emitted, Entry, Logged, Millis, Operation, Outcome, Scheduled
from rewake.replay.chance import Chance
from rewake.replay.differences import key_of
from rewake.replay.loop import WorkflowLoop
from rewake.replay.mistakes import Mistakes
from rewake.replay.operation import OpenOp, OpFuture
from rewake.replay.origins import Origins
from rewake.replay.scope import Group, bounded
from rewake.values.emitted import Allowance
from rewake.values.failures import failure_of


class Inside:
    """What one attempt at a block has of its own, as what is outside of all blocks has."""

    __slots__ = (
        "allowance",
        "branches",
        "chance",
        "generators",
        "heard",
        "keys",
        "mistakes",
        "serials",
    )

    def __init__(self, seed: int | str) -> None:
        self.chance = Chance(seed)
        self.allowance = Allowance()
        self.mistakes = Mistakes()
        self.branches: list[Any] = []
        self.generators: list[Any] = []
        self.keys: list[str] = []
        """Of the operations that it has asked for."""
        self.serials = itertools.count(1)
        """Of the futures and asyncio tasks that it makes."""
        self.heard: dict[str, Any] = {}
        """What it has had of events (`rewake.authoring.events`)."""

    def open_generators(self) -> list[Any]:
        """The async generators that were begun and not ended."""
        return [each for each in self.generators if each.ag_frame is not None]


class Passed:
    """The blocks of a history that are passed over on its replay."""

    def __init__(self, history: Sequence[Entry] = ()) -> None:
        self._keys: set[str] = set(_ended(history))
        for entry in history if self._keys else ():
            if isinstance(entry, Scheduled) and entry.kind.traits.remembered:
                self._keys -= set(self._around(entry.key))
        if self._keys:
            for event, commands, _ in segments_of(history):
                self._keys -= self._mixed(event, commands)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def has_inside(self, entry: Entry | Operation) -> bool:
        """Whether an entry, or an item, is about the inside of one of them."""
        return bool(self._keys) and any(self._around(getattr(entry, "key", "")))

    def _mixed(self, event: Entry, commands: Sequence[Entry]) -> set[str]:
        """The blocks whose inside is not apart in this segment."""
        outer, mixed = set(self._around(key_of(event))), set[str]()
        here = {key_of(entry) for entry in commands}
        for entry in commands:
            if not isinstance(entry, Logged | Emitted):
                inner = set(self._around(key_of(entry)))
                mixed |= (outer - inner) | (inner - outer - here)
        return mixed

    def _around(self, key: str) -> Iterator[str]:
        """The blocks inside of which an operation is."""
        end = key.find("]/")
        while end >= 0:
            block = key[: key.rfind("[", 0, end)]
            if block in self._keys:
                yield block
            end = key.find("]/", end + 1)


def _ended(history: Sequence[Entry]) -> Mapping[str, None]:
    """The blocks that are asked for in a history and succeed in it; none if a path is cut."""
    asked = {
        entry.key
        for entry in history
        if isinstance(entry, Scheduled) and entry.kind.traits.encloses
    }
    if not asked or any(within_lap(key_of(entry)).startswith("~") for entry in history):
        return {}
    ends = (each for each in history if isinstance(each, BlockEnded) and each.key in asked)
    return {each.key: None for each in ends if each.outcome.kind is OutcomeKind.OK}


def segments_of(history: Sequence[Entry]) -> Iterator[tuple[Entry, Sequence[Entry], bool]]:
    """The events of a history, each with the commands behind it, and whether it is the last."""
    begin = 0
    for end in range(1, len(history) + 1):
        if end == len(history) or hasattr(history[end], "clock"):
            yield history[begin], history[begin + 1 : end], end == len(history)
            begin = end


class Asking(Protocol):
    """The execution whose blocks these are."""

    open: dict[str, OpenOp]
    machine: Millis

    @property
    def origins(self) -> Origins:
        """Where the errors of the workflow came from."""

    @property
    def loop(self) -> WorkflowLoop:
        """The loop that the workflow runs on."""

    def ask(self, op: OpenOp) -> None:
        """Ask for a block."""

    def withdraw(self, op: OpenOp) -> None:
        """Withdraw an operation that the workflow no longer wants."""


class _Over(NamedTuple):
    """A block whose function has ended, perhaps by this error, and is not seen to have yet."""

    op: OpenOp
    outcome: Callable[[], Outcome]
    error: Cause | None


class Blocks:
    """The blocks of one instance. `passed`: those of the history that is being replayed."""

    def __init__(self, execution: Asking, seed: int) -> None:
        self.outside = Inside(seed)
        self.passed = Passed()
        self._execution = execution
        self._over: dict[str, _Over] = {}

    @property
    def inside(self) -> Inside:
        """What the branch that is running shares with all that is inside of the same block."""
        inside: Inside | None = self._execution.loop.current_scope().inside
        return inside or self.outside

    def asked(self, op: OpenOp) -> None:
        """Note an operation that the branch that is running asks for."""
        inside = self._execution.loop.current_scope().inside
        if inside is not None:
            inside.keys.append(op.key)

    def enclose(
        self, name: str, resolve: Callable[[str, Outcome], Any]
    ) -> tuple[OpenOp, Group | None]:
        """Ask for a block. Returns the scopes of its attempts; None if it is passed over."""
        loop = self._execution.loop
        key, scopes = loop.current_scope().enclosing(name)
        op = OpenOp(key, Kind.BLOCK, bounded(name), "", None)
        op.resolve, op.future = resolve, OpFuture(loop, op, self._execution.withdraw)
        if not loop.dead:
            self._execution.ask(op)
        return op, None if loop.dead or key in self.passed else scopes

    def end(
        self, op: OpenOp, outcome: Callable[[], Outcome], error: BaseException | None = None
    ) -> None:
        """Note that the function of a block has ended, perhaps by this error.

        `outcome` makes what came of it; on replay the recorded one stands.
        """
        cause = None if error is None else self._execution.origins.cause_of(error)
        self._over[op.key] = _Over(op, outcome, cause)

    def see_end(self, event: BlockEnded) -> bool:
        """Note that the end of a block is seen now. Whether it has ended, or is passed over."""
        op = self._execution.open.get(event.key)
        if op is not None:
            op.cause = event.cause
        return self._over.pop(event.key, None) is not None or event.key in self.passed

    def next_end(self) -> BlockEnded | None:
        """The event by which the workflow sees what came of the next block that has ended."""
        while self._over:
            key, (op, outcome, cause) = next(iter(self._over.items()))
            if self._execution.open.get(key) is op:
                return _event_of(op, outcome, cause, self._execution.machine)
            del self._over[key]  # it was cancelled meanwhile
        return None

    async def leave(self, inside: Inside) -> None:
        """End what an attempt at a block has left open. To be cancelled here cancels that again."""
        execution, cancelled = self._execution, None
        this, over = asyncio.current_task(execution.loop), False
        while not over:
            left = [task for task in inside.branches if task is not this and not task.done()]
            try:
                await execution.loop.end(left, inside.open_generators)
                over = True
            except asyncio.CancelledError as error:
                cancelled = error
        for op in [execution.open[key] for key in inside.keys if key in execution.open]:
            if op.future is None or not op.future.cancel():
                execution.withdraw(op)
        if cancelled is not None:
            raise cancelled


def _event_of(
    op: OpenOp, outcome: Callable[[], Outcome], cause: Cause | None, now: Millis
) -> BlockEnded:
    """The event by which a workflow observes what came of a block."""
    try:
        found = outcome()
    except Exception as unencodable:
        found, cause = Outcome(OutcomeKind.ERROR, origin=failure_of(unencodable, 1)), None
    return BlockEnded(op.key, now, found, cause=cause)

"""Mutants of callbacks: what a machine says is lost, told twice, or heard too late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.authoring import linking
from rewake.engine.turns.turn import Turn
from rewake.kinds import Kind, OutcomeKind
from rewake.records import Millis, Operation, Outcome
from rewake.replay.execution import Execution
from rewake.signing.links import Link
from rewake.stores.history import of_round
from rewake.stores.operations import Operations
from tests.simulation.mutants import Mutant


@contextmanager
def a_second_call_overwrites() -> Iterator[None]:
    """What a machine says last counts."""
    settle = Operations.settle

    async def last(self: Operations, operation: Operation, outcome: Outcome, at: Any, **more: Any):  # type: ignore[no-untyped-def]
        won, found = await settle(self, operation, outcome, at, **more)
        if not won and operation.kind is Kind.CALLBACK and outcome.value is not None:
            where = self.layout.item(operation)
            written = await self._update(where, set={"outcome": outcome, "at": at})
            return True, written.item
        return won, found

    def undecided(item: Operation | None, round: int) -> Operation | None:
        found = of_round(item, round)
        return None if found is None or found.outcome is not None else found

    with (
        patch.object(Operations, "settle", last),
        patch("rewake.engine.outside.callbacks.of_round", undecided),
    ):
        yield


@contextmanager
def a_time_out_loses_an_early_call() -> Iterator[None]:
    """A wait whose time is over has timed out, whatever came before that."""
    settled = Turn._settled

    async def forgetful(self: Turn, execution: Execution, known: Any, now: Millis) -> Any:
        found = await settled(self, execution, known, now)
        late = Outcome(OutcomeKind.TIMEOUT)
        due = {op.key: op.due for op in execution.open.values() if op.kind is Kind.CALLBACK}
        return [
            each
            if (due.get(each.key) or now) >= now
            else msgspec.structs.replace(each, outcome=late)
            for each in found
        ]

    with patch.object(Turn, "_settled", forgetful):
        yield


@contextmanager
def a_beat_does_not_extend() -> Iterator[None]:
    """A machine is told that it was heard, and nothing is kept of it."""

    async def deaf(self: Operations, operation: Operation, until: Millis) -> Operation:
        return msgspec.structs.replace(operation, lease=until)

    with patch.object(Operations, "hear", deaf):
        yield


@contextmanager
def silence_is_never_noticed() -> Iterator[None]:
    """Once something was heard, nobody looks whether anything more is."""

    async def unguarded(self: Operations, operation: Operation, until: Millis) -> Operation:
        found = await hear(self, operation, until)
        where = self.layout.item(operation)
        await self._update(where, set={"due": None})
        return found

    hear = Operations.hear
    with patch.object(Operations, "hear", unguarded):
        yield


@contextmanager
def a_link_is_no_fact() -> Iterator[None]:
    """A link is made of where it is read, and not of what was recorded."""
    made = linking.link_of

    def here(*args: Any, **more: Any) -> Link:
        here.count += 1  # type: ignore[attr-defined]
        return msgspec.structs.replace(made(*args, **more), nonce=f"{here.count}")  # type: ignore[attr-defined]

    here.count = 0  # type: ignore[attr-defined]
    with patch("rewake.authoring.callback.link_of", here):
        yield


CALLING: Sequence[Mutant] = (
    a_second_call_overwrites,
    a_time_out_loses_an_early_call,
    a_beat_does_not_extend,
    silence_is_never_noticed,
    a_link_is_no_fact,
)

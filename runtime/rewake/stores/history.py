"""A run's committed history, and what can be read from it."""

from __future__ import annotations

from collections import Counter

import msgspec

from rewake.kinds import Kind, OutcomeKind
from rewake.noted import Try
from rewake.records import (
    Completed,
    Entry,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Stepped,
    Withdrawn,
)


class History(msgspec.Struct, frozen=True):
    """A committed history, with the operation items that it refers to."""

    entries: list[Entry]
    operations: dict[str, Operation]

    def outcomes(self) -> dict[str, Outcome]:
        """The recorded outcomes by key."""
        return {k: o.outcome for k, o in self.operations.items() if o.outcome is not None}

    def item(self, entry: Scheduled | Withdrawn) -> Operation | None:
        """The item of an operation, in the round in which it was asked for."""
        return of_round(self.operations.get(entry.key), entry.round)

    def open(self, kind: Kind) -> list[Scheduled]:
        """The operations of this kind whose end the workflow has not seen, in the order asked.

        The kind must be an awaited one: operations of others end by other entries.
        """
        return [entry for entry in self.awaited() if entry.kind is kind]

    def dispatched(self) -> list[Scheduled]:
        """The open operations that an invocation of their own carries out, in the order asked."""
        return [entry for entry in self.awaited() if entry.kind.traits.dispatched]

    def awaited(self) -> list[Scheduled]:
        """The open operations that end from outside, in the order asked."""
        closed = {e.key for e in self.entries if type(e) is Completed or type(e) is Withdrawn}
        asked = [entry for entry in self.entries if isinstance(entry, Scheduled)]
        return [e for e in asked if e.kind.traits.awaited and e.key not in closed]


class StepTries:
    """The attempts at steps that a history tells of: its entries are read in their order."""

    def __init__(self) -> None:
        self.clock: Millis = 0
        """The latest moment so far."""
        self.asked: dict[str, Millis] = {}
        """By key, when an operation was asked for."""
        self.numbers = Counter[str]()
        """By key, the number of the newest attempt."""
        self.where = ""
        """The process of the newest attempt."""

    def read(self, entry: Entry) -> Try | None:
        """Read the next entry. Returns the attempt that it ends, without how that ended."""
        self.clock = max(self.clock, getattr(entry, "clock", 0))
        if isinstance(entry, Scheduled):
            self.asked[entry.key] = self.clock
        if not isinstance(entry, Stepped):
            return None
        key = entry.key
        self.numbers[key] = entry.number or self.numbers[key] + 1
        self.where = entry.where or self.where
        began = entry.attempt.began if entry.attempt else self.asked.get(key, self.clock)
        return Try(self.numbers[key], began, entry.ended, self.where)


def of_round(item: Operation | None, round: int) -> Operation | None:
    """The item of an operation; None if it is that of an earlier round."""
    return None if item is None or item.round < round else item


def is_open(operation: Operation) -> bool:
    """Whether it is of a kind that ends from outside, and has no outcome."""
    return operation.kind.traits.awaited and operation.outcome is None


def is_withdrawn(operation: Operation) -> bool:
    """Whether a run has taken an operation back, or was ended; a child that ended so says why."""
    outcome = operation.outcome
    if outcome is None or outcome.kind is not OutcomeKind.CANCELLED:
        return False
    return outcome.failure is None


def is_unattended(task: Operation | None, now: Millis) -> bool:
    """Whether no process cares for a task: it has no outcome, live owner or due time of its own."""
    if task is None:
        return True
    free = not (task.owner or task.covered) or 0 < task.lease < now
    return task.outcome is None and task.due is None and free

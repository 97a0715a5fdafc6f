"""What the store protocol is asked with and answers, and where its items are."""

from __future__ import annotations

import msgspec

from rewake.records import (
    Completed,
    Entry,
    Header,
    Kind,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    Withdrawn,
)
from rewake.stores.table import Key


class Fenced(msgspec.Struct, frozen=True):
    """Another holder has taken over. Discard the instance, dispatch nothing, touch nothing."""


class Arrived(msgspec.Struct, frozen=True):
    """Something was delivered meanwhile: read again, fold, go on. Nothing was written."""

    header: Header


class Committed(msgspec.Struct, frozen=True):
    """It is durable. `header` is what is held now, `taken` the tasks that were claimed with it."""

    header: Header
    taken: dict[str, Operation] = {}


class TaskClaim(msgspec.Struct, frozen=True):
    """A task to hold for one attempt, as `owner`, from `now` for `lease` milliseconds."""

    run: str
    key: str
    name: str
    owner: str
    now: Millis
    lease: Millis


class Taken(msgspec.Struct, frozen=True):
    """A task's claim succeeded: carry it out."""

    operation: Operation


class Refused(msgspec.Struct, frozen=True):
    """A task's claim failed; `operation` says why: an outcome, an owner, or a wait."""

    operation: Operation


class Delivery(msgspec.Struct, frozen=True):
    """How a delivery went.

    `won`: this outcome is the recorded one. `header`: the run after the arrival, None if it is
    over or does not exist. `claimed`: the run was waiting for just this and is now held by the
    deliverer. `wake`: it should be dispatched.
    """

    won: bool
    operation: Operation
    header: Header | None
    claimed: bool
    wake: bool


class History(msgspec.Struct, frozen=True):
    """A committed history, with the operation items that it refers to."""

    entries: list[Entry]
    operations: dict[str, Operation]

    def outcomes(self) -> dict[str, Outcome]:
        """The recorded outcomes by key."""
        return {k: o.outcome for k, o in self.operations.items() if o.outcome is not None}

    def open(self, kind: Kind) -> list[Scheduled]:
        """The operations of this kind whose end the workflow has not seen, in the order asked."""
        closed = {e.key for e in self.entries if isinstance(e, Completed | Withdrawn)}
        return [
            entry
            for entry in self.entries
            if isinstance(entry, Scheduled) and entry.kind is kind and entry.key not in closed
        ]


def header_key(run: str) -> Key:
    """Where a run's header is."""
    return Key(f"R#{run}", "H")


def operation_key(run: str, key: str) -> Key:
    """Where an operation's item is."""
    return Key(f"R#{run}", f"O#{key}")


def is_unattended(task: Operation | None, now: Millis) -> bool:
    """Whether nobody sees to a task: no outcome, no live owner, and no due time of its own."""
    if task is None:
        return True
    free = not task.owner or task.lease < now
    return task.outcome is None and task.due is None and free

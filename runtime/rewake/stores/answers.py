"""What the store protocol is asked with, and what it answers."""

from __future__ import annotations

import msgspec

from rewake.records import Header, Millis, Operation


class Fenced(msgspec.Struct, frozen=True):
    """Another holder has taken over. Discard the instance, dispatch nothing, touch nothing."""


class Arrived(msgspec.Struct, frozen=True):
    """Something was delivered meanwhile: read again, fold, go on. Nothing was written."""

    header: Header


class Committed(msgspec.Struct, frozen=True):
    """It is durable. `header` is what is held now, `taken` the tasks that were claimed with it."""

    header: Header
    taken: dict[str, Operation] = {}


class RunClaim(msgspec.Struct, frozen=True):
    """A run to hold, as `owner`, from `now` for `lease` milliseconds."""

    owner: str
    now: Millis
    lease: Millis
    takes_over: bool = True
    """Whether to take the run from a holder whose lease is over: not from this process itself."""


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

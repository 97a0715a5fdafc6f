"""The arguments and the answers of the store protocol."""

from __future__ import annotations

import msgspec

from rewake.limited import FREE, Terms
from rewake.records import Header, Millis, Operation


class Fenced(msgspec.Struct, frozen=True):
    """The claim no longer holds. Discard the instance, dispatch nothing, touch nothing."""


class Arrived(msgspec.Struct, frozen=True):
    """Something was delivered meanwhile: read again, fold, go on. Nothing was written."""

    header: Header


class Committed(msgspec.Struct, frozen=True):
    """The commit is durable. `header` is held now, `taken` are the tasks claimed with it."""

    header: Header
    taken: dict[str, Operation] = {}


class RunClaim(msgspec.Struct, frozen=True):
    """A claim on a run, as `owner` (a name that no other claim has), from `now` for `lease` ms."""

    owner: str
    now: Millis
    lease: Millis
    takes_over: bool = True
    """Whether to take the run from a holder whose lease is over; False if this process is it."""
    apart: bool = False
    """Whether no other suspect is in the claimer's process: then it may be one itself."""
    where: str = ""
    """The claimer's process, as `host:pid`."""


class TaskClaim(msgspec.Struct, frozen=True):
    """A claim on a task for one attempt, as `owner`, from `now` for `lease` milliseconds."""

    run: str
    key: str
    name: str
    owner: str
    now: Millis
    lease: Millis
    where: str = ""
    round: int = 0
    """The round in which the task was asked for."""
    apart: bool = False
    """Whether no other suspect is in the claimer's process: then it may be one itself."""
    tag: str = ""
    """The tag of the task."""
    terms: Terms = FREE
    """Under which limits it is carried out."""
    seen: str | None = None
    """The mark of its item before it was let in, if it was: whoever takes its places writes another
    one first, so that it does not begin without them.
    """


class Suspect(msgspec.Struct, frozen=True):
    """The claim of a run failed, for it must be begun apart from other suspects."""

    deaths: int


class Taken(msgspec.Struct, frozen=True):
    """A task's claim succeeded: carry it out."""

    operation: Operation
    lost: bool = False
    """Whether it was taken over from an attempt whose lease ran out."""


class Refused(msgspec.Struct, frozen=True):
    """A task's claim failed; `operation` says why: an outcome, an owner, or a wait."""

    operation: Operation
    suspect: int = 0
    """How many processes died under it, if it must be begun apart from other suspects."""


class Delivery(msgspec.Struct, frozen=True):
    """How a delivery went.

    `won`: this outcome is the recorded one. `header`: the run after the arrival, None if there was
    no outcome to arrive with or no live run. `claimed`: the run was waiting for just this, and the
    deliverer holds it now. `wake`: the run should go on.
    """

    won: bool
    operation: Operation
    header: Header | None
    claimed: bool
    wake: bool
    arrival: int = 0
    """The number of the arrival in its run; 0: unknown."""

    @property
    def owner(self) -> str:
        """The claim under which the deliverer holds the run; empty: it does not."""
        return self.header.owner if self.claimed and self.header is not None else ""

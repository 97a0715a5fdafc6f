"""Where in a history an error that ended a workflow came from, so that a retry can go back to it.

An error is marked when it is first seen: with its operation, as it is raised from the outcome of
one; else when a branch ends by it, when the body does, whose branches may have much to clean up, or
when it asks for an operation while it handles the error (a compensation, a `finally`), and so would
end many events after it was raised. What is not marked was raised after the newest event. Of errors
that follow from each other the last one counts whose operation is known, for a body may raise an
error of its own from that of an operation. Of a group the member counts that was first: what
followed may be its consequence.

A mark is that of one instance, since a program may raise one error object in many runs.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from rewake.noted import Cause, Forked
from rewake.records import Entry, Retried, Signalled, Stepped
from rewake.values.references import ORIGIN


class Origin(NamedTuple):
    """The number of the event after which an error was seen first, and its operation's key."""

    event: int
    key: str
    instance: Origins
    late: bool = False


class Origins:
    """Where the errors of one instance came from. `event`: the number of its newest event."""

    def __init__(self) -> None:
        self.event = -1

    def mark(self, error: BaseException, key: str = "", event: int | None = None) -> None:
        """Mark an error that was not seen before. `event`: if a retry goes further back."""
        if self._origin(error) is None:
            at = self.event if event is None else event
            # An exception may have a `__setattr__` and a `__getattr__` that raise.
            BaseException.__setattr__(error, ORIGIN, Origin(at, key, self))

    def mark_cause(self, error: BaseException, cause: Cause) -> None:
        """Mark the error of a block with what that failed by."""
        origin = Origin(cause.event, cause.key, self, cause.late)
        BaseException.__setattr__(error, ORIGIN, origin)

    def mark_handled(self) -> None:
        """Mark the error that is being handled: what follows it may take many events."""
        if (handled := sys.exception()) is not None:
            self.mark(handled)

    def cause_of(self, error: BaseException) -> Cause:
        """The place from which a retry goes on after this error, which is the end."""
        return self._cause(error, set())

    def _cause(self, error: BaseException, seen: set[int]) -> Cause:
        found, link = Cause(self.event), error
        while id(link) not in seen:
            seen.add(id(link))
            each = self._cause_of_one(link, seen)
            if each.key:
                return each
            found = Cause(min(found.event, each.event), late=found.late or each.late)
            link = link.__cause__ or _context(link) or link
        return found

    def _cause_of_one(self, error: BaseException, seen: set[int]) -> Cause:
        """The same, but for what the error follows from; of a group that of its first member."""
        event, key, _, late = self._origin(error) or Origin(self.event, "", self)
        if key or not isinstance(error, BaseExceptionGroup):
            return Cause(event, key, late=late or (not key and isinstance(error, TimeoutError)))
        members = [self._cause(each, seen) for each in error.exceptions]
        first = min(members, key=lambda each: (each.event, not each.key))
        return first if first.key else Cause(min(event, first.event), late=first.late)

    def _origin(self, error: BaseException) -> Origin | None:
        found: Origin | None = BaseException.__getattribute__(error, "__dict__").get(ORIGIN)
        return found if found is not None and found.instance is self else None


def note_failure(branch: asyncio.Task[Any]) -> None:
    """Mark the error that a branch of a workflow has ended by, which nobody may await for long."""
    error: BaseException | None = branch._exception  # asking for it properly says that it was seen
    if error is not None:
        branch.get_loop().owner.origins.mark(error)  # type: ignore[attr-defined]


def is_cut_behind(history: Sequence[Entry]) -> bool:
    """Whether a history was cut behind its last event: what follows that is asked for anew."""
    match history[-2:]:
        case [*_, Retried() | Forked()] | [Retried() | Forked(), Stepped() | Signalled()]:
            return True
    return False


def _context(error: BaseException) -> BaseException | None:
    return None if error.__suppress_context__ else error.__context__

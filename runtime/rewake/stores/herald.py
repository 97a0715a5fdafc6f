"""The contract of a table that tells processes of one another's writes; few can.

A sweep finds what is due, within its interval. What a process writes as due at once it leaves to
the others, as a rule: a run that the command line decided on, one that is released, one that was
started in a user's own transaction. A table that can tell them saves them the wait. What is told is
a hint: it may be lost, and then the next sweep finds what there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable


@runtime_checkable
class Herald(Protocol):
    """A table that says when another process has written something that is due."""

    async def listen(self, heard: Callable[[], object]) -> None:
        """Call `heard` each time, until this is cancelled; return if it cannot be heard here."""
        ...


def herald_of(table: object) -> Herald | None:
    """The table itself, if it is one."""
    return table if isinstance(table, Herald) else None

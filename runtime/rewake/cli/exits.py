"""How a command ends: its exit code, and the one line that says what went wrong."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import IntEnum

from rewake.errors import (
    RewakeError,
    RunConflict,
    RunNotFound,
    StoreUnsuitable,
    StuckError,
    Unauthentic,
    UsageError,
)


class Exit(IntEnum):
    """The exit codes of every command."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    CANCELLED = 3
    STUCK = 4
    DIFFERS = 5
    UNAVAILABLE = 6
    PENDING = 7
    INTERRUPTED = 130


EXITS = (
    "Exit codes: 0 done; 1 the run failed; 2 wrong usage; 3 the run was cancelled; 4 the run is "
    "stuck and needs a person; 5 the code differs from the history; 6 the server or the database "
    "cannot be reached; 7 the run has not ended yet; 130 interrupted."
)

STATES = {
    "done": Exit.DONE,
    "failed": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
    "stuck": Exit.STUCK,
}
"""How a run that is in a state ends the command that waits for it; any other state is pending."""

_USAGE = (UsageError, RunNotFound, RunConflict, StoreUnsuitable, Unauthentic)


class Unavailable(RewakeError):
    """The server cannot be reached, or failed."""


def exit_for(error: RewakeError) -> Exit:
    """The exit code for an error."""
    if isinstance(error, _USAGE):
        return Exit.USAGE
    return Exit.STUCK if isinstance(error, StuckError) else Exit.UNAVAILABLE


def complain(message: object) -> None:
    """Say on stderr what is wrong, in one line."""
    tell(f"rewake: {' '.join(str(message).split())}")


def tell(message: str) -> None:
    """Say something on stderr, which is for people."""
    with suppress(OSError):  # nobody reads it; the run matters more
        print(message, file=sys.stderr, flush=True)

"""How a command ends: its exit code, and the one line that says what went wrong."""

from __future__ import annotations

import sys
import unicodedata
import warnings
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Any, TextIO

from rewake.errors import (
    DecisionForbidden,
    DeterminismWarning,
    EventConflict,
    InsufficientScope,
    LinkExpired,
    RunConflict,
    RunNotFound,
    ScheduleError,
    StoreUnsuitable,
    StuckError,
    TokenError,
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
    BLOCKED = 70
    INTERRUPTED = 130


EXITS = (
    "Exit codes: 0 done; 1 the run failed; 2 wrong usage; 3 the run was cancelled; 4 the run is "
    "stuck and needs a person; 5 the code differs from the history; 6 the server, the database or "
    "a stored result cannot be reached; 7 the run has not ended yet; 70 the event loop stayed "
    "blocked; 130 interrupted."
)

STATES = {
    "done": Exit.DONE,
    "failed": Exit.FAILED,
    "cancelled": Exit.CANCELLED,
    "stuck": Exit.STUCK,
}
"""The exit code of a command that waits for a run, by the run's state; for others, `PENDING`."""

_USAGE = (
    DeterminismWarning,
    UsageError,
    RunNotFound,
    RunConflict,
    EventConflict,
    StoreUnsuitable,
    Unauthentic,
    InsufficientScope,
    DecisionForbidden,
    LinkExpired,
    TokenError,
    ScheduleError,
)


def exit_for(error: Exception) -> Exit:
    """The exit code for an error, or for a warning raised as one (`python -W error`)."""
    if isinstance(error, _USAGE):
        return Exit.USAGE
    return Exit.STUCK if isinstance(error, StuckError) else Exit.UNAVAILABLE


def complain(message: object) -> None:
    """Say on stderr what is wrong, in one line."""
    said = " ".join([str(message), *getattr(message, "__notes__", ())])
    tell(f"rewake: {' '.join(said.split())}")


def tell(message: str) -> None:
    """Say something on stderr, which is for people."""
    with suppress(OSError):  # nobody reads it; the run matters more
        print(harmless(message, sys.stderr), file=sys.stderr, flush=True)


def harmless(text: str, out: TextIO | None = None) -> str:
    """The text, on a terminal without what that obeys: control characters are shown as escapes.

    `out`: where it is written, if not to stdout.
    """
    if not (sys.stdout if out is None else out).isatty():
        return text
    return "".join(
        each if each in "\n\t" or unicodedata.category(each) != "Cc" else f"\\x{ord(each):02x}"
        for each in text
    )


def warn_in_lines() -> None:
    """From now on, show each `DeterminismWarning` in one line."""
    show_otherwise = warnings.showwarning

    def show(message: Any, category: Any, filename: str, lineno: int, *rest: Any) -> None:
        if not issubclass(category, DeterminismWarning):
            return show_otherwise(message, category, filename, lineno, *rest)
        path, here = Path(filename), Path.cwd()
        shown = path.relative_to(here) if path.is_relative_to(here) else path
        return tell(f"rewake: {shown}:{lineno}: {message}")

    warnings.showwarning = show  # type: ignore[assignment]

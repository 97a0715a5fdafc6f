"""Why a run does not go on, or has failed: a code, what to mend, and the command that follows.

One table, by what a run's header says of it (`Header.error`, which begins with the type of an error
where that is one of ours). What a person reads is there and in the reference; a code never changes
its meaning, so that programs can act on it.

    stuck      it needs a person; after the fix it is resumed, and nothing of it is lost
    ready      it was put back for a process that can carry it on, and goes on by itself then
    failed     it has ended; after the fix it is retried from before its error, or started anew
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from rewake.records import Header
from rewake.states import RunState

_RESUME = "rewake runs resume {run}"
_RETRY = "rewake runs retry {run}"
_WAIT = "rewake runs show {run}"
_SERVE = "rewake serve --tags {tag}"


class Reason(NamedTuple):
    """Why a run does not go on. `fix`: what to mend; `command`: what then lets it go on."""

    code: str
    fix: str
    command: str


class _Row(NamedTuple):
    state: RunState
    error: str
    """What its error begins with, as a regular expression."""
    reason: Reason


def _rows(state: RunState, command: str, rows: Mapping[str, tuple[str, str]]) -> Sequence[_Row]:
    return [_Row(state, error, Reason(*told, command)) for error, told in rows.items()]


REASONS: Sequence[_Row] = (
    *_rows(
        RunState.STUCK,
        _RESUME,
        {
            "NonDeterminismError": (
                "mismatch",
                "deploy code that does what the history says (`rewake replay {run}` shows where "
                "it differs), or fork it from before that",
            ),
            "CheckpointForged": (
                "forged",
                "find out who has changed the database, and restore the value from a backup",
            ),
            "CheckpointUnreadable": (
                "unreadable",
                "bring back the types or the value that it names, or fork it from before that",
            ),
            "LimitReached": (
                "limit",
                "split the run, or let it continue as new; or raise the limit",
            ),
            "StuckError: its process died": (
                "poison",
                "find what kills its processes (memory, native code), and mend that",
            ),
            "StuckError: it waits for something": (
                "deadlock",
                "mend what its branches wait for, or cancel it with --even-stuck",
            ),
            "(StuckError: the workflow ran|blocked)": (
                "spins",
                "let its body wait for something, and do long work in a task or a step",
            ),
            "": ("unforeseen", "read the error and the server's log; report it if it is Rewake's"),
        },
    ),
    *_rows(
        RunState.READY,
        _WAIT,
        {
            "there is no workflow": (
                "code-missing",
                "deploy an app that has its workflow; it goes on by itself then",
            ),
            "it is one of runtime": (
                "newer",
                "roll the newer Rewake out everywhere; it goes on by itself then",
            ),
            ".*(newer Rewake|newer version)": (
                "newer",
                "roll the newer Rewake out everywhere; it goes on by itself then",
            ),
            ".*(REWAKE_SECRET|REWAKE_ENCRYPTION_KEYS|codec)": (
                "secret-gone",
                "give the servers the key that it was written with; it goes on by itself then",
            ),
            ".*Python": (
                "other-python",
                "keep a server of the Python that it began under; it goes on by itself then",
            ),
            ".+": ("held-up", "mend what it names; it goes on by itself then"),
        },
    ),
    *_rows(
        RunState.FAILED,
        _RETRY,
        {
            "TaskError: lost": (
                "poison",
                "find what kills the processes of its task (memory, native code), and mend that",
            ),
            "(TaskError: )?TimeoutError": (
                "timeout",
                "see what took so long, or allow more time",
            ),
            "(TaskError: )?LimitReached": (
                "limit",
                "let the task return less, or keep it elsewhere; or raise the limit that it names",
            ),
            "": ("error", "mend what its error names, in the code or outside"),
        },
    ),
)
"""By state and error, the first that fits."""


LATE: Mapping[str, Reason] = {
    each.code: each
    for each in (
        Reason(
            "overdue",
            "see that a server runs which carries runs on, and whether its log tells of failed "
            "checks",
            "rewake doctor",
        ),
        Reason(
            "untaken",
            "see that somebody takes messages from the queue, and has room: what was sent waits",
            "rewake doctor",
        ),
        Reason("unserved-tag", "start a server of its tag: there is none", _SERVE),
        Reason("no-room", "start more servers of its tag: all are busy", _SERVE),
        Reason(
            "lost",
            "all that it waits for has ended, and it was not told: wake it, and report that",
            "rewake runs pause {run} && rewake runs resume {run}",
        ),
    )
}
"""Why a run has not moved although it should have (`engine/alerts/overdue.py`), by code."""


def why_late(code: str, run: str, tag: str = "") -> Reason:
    """Why a run is late. `tag`: of the servers that it waits for."""
    code, fix, command = LATE[code]
    return Reason(code, fix, command.format(run=run, tag=tag))


def reason_of(header: Header, error: str) -> Reason | None:
    """Why a run does not go on, or has failed; None for one that has no trouble.

    `error`: that of its header, as people may read it.
    """
    for row in REASONS:
        if row.state is header.state and re.match(row.error, error, re.DOTALL):
            code, fix, command = row.reason
            return Reason(code, fix.format(run=header.run), command.format(run=header.run))
    return None

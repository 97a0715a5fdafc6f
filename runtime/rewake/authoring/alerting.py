"""Hooks: who is told when a run fails, gets stuck or waits too long, or a schedule starts no run.

What tells is a task, and it is told by a run of its own (`tell-NAME`), which calls it with an
`Alert`. So all that holds of runs holds of it: it outlives crashes, is seen and can be retried, and
whatever becomes of it changes nothing of the run that it is about. Its id follows from what it
tells, so each is told by one run however often it is begun. A task that fails, its own retries used
up, is called again after growing pauses, for a day; then the telling run has failed, and nothing is
told of that.

`on_failure` calls its task for every run that fails. `alerts` is for people: a flood of them is
cut, and what was left out is counted in the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec

from rewake.authoring.policy import Seconds, positive
from rewake.authoring.task import Task
from rewake.errors import UsageError
from rewake.records import Millis

MOST_AT_ONCE: Final = 1_000


class AlertKind(StrEnum):
    """What an alert is about."""

    FAILED = "failed"
    STUCK = "stuck"
    WAITING = "waiting"
    SKIPPED = "skipped"
    OVERDUE = "overdue"
    DEAD_LETTER = "dead_letter"


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook's task is called with.

    `id`: the same however often it is told. `run`: which failed, is stuck, waits or is late; of a
    schedule that started none, empty. `message`: the id of one that was parked. `at`: when, as
    RFC 3339. `error`: why, the beginning of it. `then`: a command that helps. `left_out`: how many
    alerts were left out before this one, as they were too many; `last`: further ones are left out
    for a while.
    """

    id: str
    kind: AlertKind
    at: str
    workflow: str
    run: str = ""
    schedule: str = ""
    message: str = ""
    error: str = ""
    then: str = ""
    left_out: int = 0
    last: bool = False

    @property
    def text(self) -> str:
        """A line for people."""
        about = f"run {self.run} of {self.workflow}" if self.run else f"schedule {self.schedule}"
        about = f"message {self.message}" if self.message else about
        said = f"{about} {_SAID[self.kind]}"
        more = [f": {self.error}" if self.error else ""]
        more += [f" (`{self.then}`)" if self.then else ""]
        more += [f" – {self.left_out} more were left out before" if self.left_out else ""]
        more += [" – there are many: further ones are left out for a while" if self.last else ""]
        return said + "".join(more)


_SAID = {
    AlertKind.FAILED: "has failed",
    AlertKind.STUCK: "is stuck",
    AlertKind.WAITING: "has not ended for long",
    AlertKind.SKIPPED: "has left out a run",
    AlertKind.OVERDUE: "should have moved, and has not",
    AlertKind.DEAD_LETTER: "could be handled by nobody, and is parked",
}


class Hook:
    """Tasks that are told, and of what. Made by `on_failure` and `alerts`; see there."""

    def __init__(
        self,
        tasks: Sequence[Task[Any, Any]],
        kinds: Iterable[AlertKind],
        waiting: Millis | None = None,
        most: int = 0,
        per: Millis = 0,
    ) -> None:
        self.tasks = tuple(tasks)
        self.kinds = frozenset(kinds)
        self.waiting = waiting
        self.most = most
        self.per = per

    def __repr__(self) -> str:
        return f"<hook of {', '.join(task.name for task in self.tasks)}>"


def on_failure(task: Task[Any, Any], /) -> Hook:
    """Let a task be called with an `Alert` for each run that fails, of any workflow of the app.

        tell_all = on_failure(page_somebody)  # anywhere in the app's module

    Cancelled runs have not failed. Raises `UsageError` unless it is a task that takes one argument.
    """
    return Hook([_checked(task)], [AlertKind.FAILED])


def alerts(
    *tasks: Task[Any, Any],
    kinds: Iterable[str] = (AlertKind.FAILED, AlertKind.STUCK, AlertKind.SKIPPED),
    waiting: Seconds | None = None,
    most: int = 20,
    per: Seconds = timedelta(minutes=10),
) -> Hook:
    """Tell people, by tasks such as those of `rewake.notify`, of what goes wrong.

        ops = alerts(slack("SLACK_URL"), waiting=timedelta(days=2))

    `kinds`: of `failed`, `stuck`, `waiting`, `skipped` (a schedule started no run), `overdue` (a
    run should have moved five minutes ago: no server of a tag is there, or has room) and
    `dead_letter` (nobody could handle a message of the queue). `waiting`: tell of runs that have
    not ended so long (seconds, or a `timedelta`) after their start. At most `most` alerts in each
    `per` are told; the last says so, and the next one after tells how many were left out.

    Raises `UsageError` for no task, or a kind that is none, and `ValueError` for bad numbers.
    """
    if not tasks:
        raise UsageError("alerts() needs a task that tells")
    known = {str(each) for each in AlertKind}
    if isinstance(kinds, str) or (unknown := sorted({*kinds} - known)):
        told = f"kinds= has some of {', '.join(AlertKind)}"
        raise UsageError(told if isinstance(kinds, str) else f"{told}, and not {unknown[0]!r}")
    wanted = {AlertKind(each) for each in kinds}
    late = positive("waiting", waiting)
    if AlertKind.WAITING in wanted and late is None:
        raise UsageError("to tell of runs that wait, say waiting=: after how long")
    if not (wanted or late):
        raise UsageError("kinds= is empty: of what is it to tell?")
    if type(most) is not int or not 1 <= most <= MOST_AT_ONCE:
        raise ValueError(f"most is a whole number from 1 to {MOST_AT_ONCE:,}, not {most!r}"[:200])
    span = positive("per", per)
    assert span is not None
    return Hook(
        [*map(_checked, tasks)], wanted | ({AlertKind.WAITING} if late else set()), late, most, span
    )


def _checked(task: object) -> Task[Any, Any]:
    if not isinstance(task, Task):
        raise UsageError(f"a hook is a @task that is called with an Alert, and not {task!r}")
    try:
        task.arguments((None,), {})
    except TypeError as error:
        raise UsageError(f"{task!r} must take one argument, an Alert: {error}") from None
    return task


def hook_of(task: object) -> Hook:
    """The hook of a workflow with `on_failure=`. Raises `UsageError`."""
    return Hook([_checked(task)], [AlertKind.FAILED])

"""The vocabulary: what is written down about a run, as small typed structs.

Everything here is data. Times are whole milliseconds since the Unix epoch (`Millis`); the
structs encode to JSON, so a stored row can be read by eye.

What is stored of one run (`R#<run>` is its partition):

    H            Header     the one item that decides: state, epoch, lease, due, newest entries
    C#<n>#<w>    Chunk      older entries; exists only once the header (or a later chunk) names it
    O#<key>      Operation  a task or an approval: claim, attempts and outcome in one item
    L#<key>#..   LogBatch   what an attempt at a task or step logged

and, in the partition `V`, one `View` a run, so that runs can be listed without a scan.

The *history* of a run is its entries in order. Entries are of two kinds. A *command* says what the
workflow asked for (`Scheduled`, `Withdrawn`, `Finished`). An *event* says what it then observed
(`Started`, `Completed`, `Stepped`, `Fired`, `CancelRequested`), and when. Between two events
the workflow sees nothing new and time stands still; that is all that replay rests on. What the
workflow's own body logged (`Logged`) is kept among its commands, and is not compared with them.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

Millis = int
"""A moment, in whole milliseconds since the Unix epoch (or a duration in milliseconds)."""


class RunState(StrEnum):
    """Where a run stands. `parked` is what users call suspended; `stuck` needs a person."""

    READY = "ready"
    RUNNING = "running"
    PARKED = "parked"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
    STUCK = "stuck"


TERMINAL = frozenset({RunState.DONE, RunState.FAILED, RunState.CANCELLED})
"""States that a run never leaves. (A stuck run is kept whole and can be resumed.)"""


class Kind(StrEnum):
    """What sort of durable operation a key stands for."""

    TASK = "task"
    STEP = "step"
    TIMER = "timer"
    APPROVAL = "approval"


AWAITED = frozenset({Kind.TASK, Kind.APPROVAL})
"""Kinds whose outcome comes from outside of the run, in an item of its own."""


class OutcomeKind(StrEnum):
    """How an operation or a run ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class Value(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An encoded Python value. See `rewake.values` for the codecs.

    `codec` is `json`, `typed` (JSON that a type hint restores) or `pickle` (signed cloudpickle).
    `body` is the JSON text itself; for a pickle, a JSON string in base64. A large body is kept
    apart: then `blob` names it and `body` is `null`.
    """

    codec: str
    body: msgspec.Raw
    blob: str = ""


class Failure(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """An exception as data: original type name, message, traceback text, attempts made."""

    type: str
    message: str
    traceback: str = ""
    attempts: int = 1


class Outcome(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """How an operation ended: a value (`ok`), or a failure (every other kind)."""

    kind: OutcomeKind
    value: Value | None = None
    failure: Failure | None = None


# --- history -----------------------------------------------------------------------------------


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """Event: the run began, with these arguments, at this time."""

    clock: Millis
    args: Value


class Scheduled(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="scheduled"):
    """Command: the workflow asked for a durable operation.

    `name` is the function (or the timer's kind), `digest` that of its arguments; replay compares
    kind, name and digest. `args` is what the operation needs to be carried out again after a
    lost message. `due` is a timer's moment or an approval's deadline.
    """

    key: str
    kind: Kind
    name: str
    digest: str
    args: Value | None = None
    due: Millis | None = None

    def message(self, run: str, *, sole: bool = False) -> Invocation:
        """What tells somebody to carry this task out."""
        return Invocation(run, self.key, self.name, self.args, sole=sole)


class Withdrawn(msgspec.Struct, frozen=True, array_like=True, tag="withdrawn"):
    """Command: the workflow cancelled an operation that it had asked for."""

    key: str
    kind: Kind


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """One line that a workflow's body or an attempt logged. What is printed: `STDOUT`."""

    at: Millis
    level: str
    message: str


class Logged(msgspec.Struct, frozen=True, array_like=True, tag="logged"):
    """What the workflow's body logged after an event: committed with it, so it is there once."""

    lines: list[LogLine]


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="finished"):
    """Command: the workflow ended. Always the last entry."""

    outcome: Outcome


class Completed(msgspec.Struct, frozen=True, array_like=True, tag="completed"):
    """Event: a task's or an approval's outcome was observed. The outcome is in its item."""

    key: str
    clock: Millis


class Stepped(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, tag="stepped"):
    """Event: an inline step's attempt ended.

    With `retry_at`, the attempt failed and another follows at that moment: the workflow does
    not see this one.
    """

    key: str
    clock: Millis
    outcome: Outcome
    retry_at: Millis | None = None


class Fired(msgspec.Struct, frozen=True, array_like=True, tag="fired"):
    """Event: a timer's due time had passed."""

    key: str
    clock: Millis


class CancelRequested(msgspec.Struct, frozen=True, array_like=True, tag="cancel"):
    """Event: the run was asked to cancel."""

    clock: Millis
    reason: str


Command = Scheduled | Withdrawn | Logged | Finished
Event = Started | Completed | Stepped | Fired | CancelRequested
Entry = Command | Event


# --- stored items ------------------------------------------------------------------------------


class Header(msgspec.Struct, omit_defaults=True):
    """The one item that decides about a run; at most 1 KiB, not counting `cancel` and `error`.

    `epoch` rises with each claim and `count` with each entry: together they are the fence of
    every commit. `writer` is the token of the last commit. `arrivals` counts deliveries so far;
    `gap` how many more are needed before a wake is useful (at or below zero: wake). `due` is
    the earliest moment at which somebody must look at the run, `wake` that of its next timer,
    `look` when its tasks must be looked after. `strikes` counts claims since the last progress,
    without those that their process gave back.
    `runtime` is the version of the replay core's behaviour that the run keeps.
    `base` names the newest chunk (its sort key), `tail` holds the entries after it.
    """

    run: str
    workflow: str
    created: Millis
    seed: int
    python: str
    runtime: int
    state: RunState = RunState.READY
    epoch: int = 0
    owner: str = ""
    lease: Millis = 0
    count: int = 0
    writer: str = ""
    arrivals: int = 0
    gap: int = 0
    due: Millis | None = None
    wake: Millis | None = None
    look: Millis | None = None
    cancel: str | None = None
    strikes: int = 0
    clock: Millis = 0
    digest: str = ""
    base: str = ""
    tail: list[Entry] = []
    error: str = ""


class Chunk(msgspec.Struct, frozen=True, omit_defaults=True):
    """Older entries of one run. `previous` is the sort key of the chunk before it, or empty."""

    previous: str
    entries: list[Entry]


class Operation(msgspec.Struct, omit_defaults=True):
    """A task or an approval: who holds it, how often it was tried, how it ended.

    `attempts` counts claims; `lost` those whose lease ran out with no outcome, which use up no
    retry. `not_before` holds back the next attempt (a backoff). `due` is set while the item
    guards itself; without it the run's header does. `at` is when the outcome was settled and
    `writer` the token of who settled it. `first` is when the first attempt began.
    `failure` is the newest failed attempt.
    """

    run: str
    key: str
    kind: Kind
    name: str = ""
    attempts: int = 0
    lost: int = 0
    owner: str = ""
    lease: Millis = 0
    not_before: Millis | None = None
    due: Millis | None = None
    first: Millis | None = None
    failure: Failure | None = None
    outcome: Outcome | None = None
    at: Millis | None = None
    writer: str = ""


class LogBatch(msgspec.Struct, frozen=True):
    """Lines that one attempt logged, written together. A workflow's body has the empty key."""

    run: str
    key: str
    attempt: int
    lines: list[LogLine]


class View(msgspec.Struct, frozen=True):
    """What a list of runs needs, to find their headers."""

    run: str
    workflow: str
    created: Millis


Item = Header | Chunk | Operation | LogBatch | View


# --- messages ----------------------------------------------------------------------------------


class Invocation(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message: there may be work for this run, or for this operation of it.

    Only a hint. It may be lost, repeated, late or early; the stored state decides. `key` is
    empty for the run itself. `not_before` asks for delivery at that moment, not earlier.
    `attempts` of a task come from its item, never from the message. `sole`: the run awaits nothing
    else, which saves a write if it is still so.
    """

    run: str
    key: str = ""
    name: str = ""
    args: Value | None = None
    not_before: Millis | None = None
    sole: bool = False

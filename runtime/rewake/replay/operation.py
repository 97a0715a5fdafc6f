"""An operation that a workflow asked for, and the future that it awaits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rewake.errors import StuckError
from rewake.records import Kind, Millis, Outcome, Scheduled, Value
from rewake.replay.loop import WorkflowFuture, WorkflowTask, WorkflowTimer

if TYPE_CHECKING:
    from rewake.replay.execution import Execution


class OpenOp:
    """An operation that was asked for and has no observed outcome yet.

    `future` is what the workflow awaits, or `timer` what it set with `call_at`. `branch` is the
    asyncio task that awaits this operation and does nothing else. For a step, `attempts` counts the
    failed ones and `not_before` holds the next one back. `work` is for whoever carries it out.
    """

    __slots__ = (
        "args",
        "asked_at",
        "attempts",
        "branch",
        "digest",
        "due",
        "future",
        "key",
        "kind",
        "name",
        "not_before",
        "recorded",
        "resolve",
        "timer",
        "work",
    )

    def __init__(self, key: str, kind: Kind, name: str, digest: str, due: Millis | None) -> None:
        self.key = key
        self.kind = kind
        self.name = name
        self.digest = digest
        self.due = due
        self.args: Value | None = None
        self.work: Any = None
        self.attempts = 0
        self.asked_at: Millis = 0
        self.not_before: Millis | None = None
        self.branch: WorkflowTask | None = None
        self.timer: WorkflowTimer | None = None
        self.future: OpFuture | None = None
        self.recorded: Scheduled | None = None
        self.resolve: Callable[[str, Outcome], Any] = nothing

    def scheduled(self) -> Scheduled:
        """The command that asks for this operation; on replay the recorded one, which is equal."""
        if self.recorded is not None:
            return self.recorded
        return Scheduled(self.key, self.kind, self.name, self.digest, self.args, self.due)


def nothing(_key: str, _outcome: Outcome) -> None:
    """Make nothing of an outcome, as a timer does."""


class OpFuture(WorkflowFuture):
    """What a workflow awaits for an operation. Cancelling it withdraws the operation."""

    __slots__ = ("_execution", "_op")

    def __init__(self, execution: Execution, op: OpenOp) -> None:
        super().__init__(loop=execution.loop)
        self._execution = execution
        self._op = op

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self._execution.withdraw(self._op)
        return cancelled


def resolve(op: OpenOp, future: OpFuture, outcome: Outcome) -> None:
    """End the future with what its operation makes of the outcome. Raises `StuckError`."""
    try:
        value = op.resolve(op.key, outcome)
    except StuckError:
        raise
    except Exception as error:
        future.set_exception(error)
    else:
        future.set_result(value)


def difference(recorded: Scheduled, op: OpenOp) -> str:
    """What differs between the operation recorded at a key and the one asked for, or ''."""
    if (recorded.kind, recorded.name) != (op.kind, op.name):
        then = f"{recorded.kind} {recorded.name!r}"
        return f"the history has the {then} here, the code asks for the {op.kind} {op.name!r}"
    if recorded.digest != op.digest:
        return f"the {op.kind} {op.name!r} has other arguments here than the history has"
    if recorded.due != op.due:
        return f"the {op.kind} {op.name!r} is due at {op.due}, in the history at {recorded.due}"
    return ""

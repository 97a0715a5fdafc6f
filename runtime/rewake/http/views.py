"""What clients are shown of a run: the stored structs in users' words, times as RFC 3339.

A value that was stored as JSON is passed on as it is. A pickled one is shown as JSON where that
can be done, and where not as `{"$type": ..., "repr": ...}`; never does it make a page fail.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType

from rewake.authoring.approval import APPROVAL
from rewake.authoring.hints import signature_of
from rewake.authoring.workflow import Workflow
from rewake.engine.codec import RunCodec
from rewake.engine.program import OUTPUT
from rewake.errors import RewakeError
from rewake.records import (
    Failure,
    Finished,
    Header,
    LogLine,
    Millis,
    Outcome,
    OutcomeKind,
    RunState,
    Scheduled,
    Value,
)
from rewake.secret import Secret

STATES: Mapping[RunState, str] = {
    state: "suspended" if state is RunState.PARKED else state.value for state in RunState
}
"""What users call the states of a run."""
ENDS: Mapping[OutcomeKind, RunState] = {
    OutcomeKind.OK: RunState.DONE,
    OutcomeKind.ERROR: RunState.FAILED,
    OutcomeKind.TIMEOUT: RunState.FAILED,
    OutcomeKind.CANCELLED: RunState.CANCELLED,
}
"""The state in which an outcome leaves a run."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = "9999-12-31T23:59:59.999Z"
_LONGEST_REPR = 500


class ErrorView(msgspec.Struct, frozen=True):
    """How something failed."""

    type: str
    message: str
    traceback: str = ""
    attempts: int = 1


class Links(msgspec.Struct, frozen=True):
    """Where to go on from a run, as references below the base URL."""

    self: str
    result: str
    history: str
    logs: str
    cancel: str


class ApprovalView(msgspec.Struct, frozen=True):
    """An approval that a run waits for. `deadline` is null where it waits for ever."""

    key: str
    name: str
    form: Any
    description: Any
    deadline: str | None
    decide: str


class RunView(msgspec.Struct, frozen=True):
    """A run. `updated` is when something last happened to it, `wake` when it goes on by itself: at
    its next timer, or the deadline of an approval; `cancel` the reason it was asked to cancel for;
    `error` why it failed or is stuck.
    """

    id: str
    workflow: str
    state: str
    created: str
    updated: str
    wake: str | None
    cancel: str | None
    links: Links
    error: ErrorView | None = None
    approvals: list[ApprovalView] | UnsetType = UNSET


class ResultView(msgspec.Struct, frozen=True):
    """How a run ended: `result`, or `error`."""

    id: str
    state: str
    result: Raw | UnsetType = UNSET
    error: ErrorView | UnsetType = UNSET


def moment(millis: Millis) -> str:
    """A moment as RFC 3339, to the millisecond."""
    try:
        text = (_EPOCH + timedelta(milliseconds=millis)).isoformat(timespec="milliseconds")
    except OverflowError:
        return _LAST
    return text.removesuffix("+00:00") + "Z"


def moment_or_none(millis: Millis | None) -> str | None:
    """A moment as RFC 3339, if there is one."""
    return None if millis is None else moment(millis)


def line_view(line: LogLine) -> dict[str, str]:
    """A line of log as it is shown."""
    return {"at": moment(line.at), "level": line.level, "message": line.message}


def links(run: str) -> Links:
    """The links of a run."""
    here = f"/v1/runs/{quote(run)}"
    return Links(here, f"{here}/result", f"{here}/history", f"{here}/logs", f"{here}/cancel")


def error_view(failure: Failure) -> ErrorView:
    """A failure as it is shown."""
    return ErrorView(failure.type, failure.message, failure.traceback, failure.attempts)


def run_view(
    header: Header,
    outcome: Outcome | None = None,
    approvals: list[ApprovalView] | UnsetType = UNSET,
) -> RunView:
    """A run, with how it ended where that is known."""
    return RunView(
        header.run,
        header.workflow,
        STATES[header.state],
        moment(header.created),
        moment(max(header.created, header.clock)),
        moment_or_none(header.wake),
        header.cancel,
        links(header.run),
        _error_of(header, outcome),
        approvals,
    )


def _error_of(header: Header, outcome: Outcome | None) -> ErrorView | None:
    if header.state is RunState.STUCK:
        type_, _, message = header.error.partition(": ")
        return ErrorView(type_, message)
    if outcome is None and header.tail and isinstance(header.tail[-1], Finished):
        outcome = header.tail[-1].outcome
    failure = None if outcome is None else outcome.failure
    return None if failure is None else error_view(failure)


def workflow_view(workflow: Workflow[Any, Any]) -> dict[str, Any]:
    """A workflow: its name, what its docstring says, its parameters."""
    signature = signature_of(workflow.function)
    parameters = signature.parameters.values() if signature else ()
    return {
        "name": workflow.name,
        "description": inspect.getdoc(workflow.function),
        "parameters": [_parameter(parameter) for parameter in parameters],
    }


def _parameter(parameter: inspect.Parameter) -> dict[str, Any]:
    declared = parameter.annotation is not parameter.empty
    hint = inspect.formatannotation(parameter.annotation).strip("'") if declared else None
    optional = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    if parameter.default is parameter.empty:
        return {"name": parameter.name, "type": hint, "required": not optional}
    default = rendered(parameter.default)
    return {"name": parameter.name, "type": hint, "required": False, "default": default}


# --- values ------------------------------------------------------------------------------------


def rendered(value: Any) -> Raw:
    """Any Python value as JSON, for people to look at."""
    with suppress(Exception):  # user code's objects may raise anything
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_described)
        return Raw(msgspec.json.encode(plain))
    return Raw(msgspec.json.encode(_described(value)))


def _described(value: Any) -> dict[str, str]:
    kind = type(value)
    try:
        text = repr(value)
    except Exception as error:
        text = f"<its repr() raised {type(error).__name__}>"
    text = text[:_LONGEST_REPR].encode("utf-8", "backslashreplace").decode()
    return {"$type": f"{kind.__module__}.{kind.__qualname__}", "repr": text}


class Values:
    """Shows the values of one run."""

    def __init__(self, secret: Secret, run: str) -> None:
        self._codec = RunCodec(secret, run)
        self._run = run

    def show(self, value: Value, *, key: str, purpose: str) -> Raw:
        """The value as JSON."""
        if value.codec != "pickle":
            return value.body
        try:
            return rendered(self._codec.decode(value, key=key, purpose=purpose))
        except RewakeError as error:
            return Raw(msgspec.json.encode({"$unreadable": str(error)}))

    def result(self, outcome: Outcome) -> ResultView:
        """How the run ended."""
        state = STATES[ENDS[outcome.kind]]
        if outcome.value is not None:
            shown = self.show(outcome.value, key="", purpose=OUTPUT)
            return ResultView(self._run, state, result=shown)
        failure = outcome.failure or Failure("cancelled", "the run was cancelled")
        return ResultView(self._run, state, error=error_view(failure))

    def approval(self, asked: Scheduled) -> ApprovalView:
        """An approval that is waited for."""
        shown: Any = {}
        if asked.args is not None:
            body = self.show(asked.args, key=asked.key, purpose=APPROVAL)
            shown = msgspec.json.decode(body)
        decide = f"/v1/runs/{quote(self._run)}/approvals/{quote(asked.key)}"
        return ApprovalView(
            asked.key,
            asked.name,
            shown.get("form"),
            shown.get("description"),
            moment_or_none(asked.due),
            decide,
        )

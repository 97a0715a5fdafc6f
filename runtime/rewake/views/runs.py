"""The views of a run: the stored structs in users' words."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Raw, UnsetType

from rewake.kinds import Purpose
from rewake.limited import LimitKind, in_order, said
from rewake.reasons import reason_of
from rewake.records import Failure, Finished, Header, Outcome
from rewake.signing.redacting import without_links
from rewake.signing.secret import Secret
from rewake.states import END_OF, SHOWN, RunState
from rewake.stores.ended import kept_until
from rewake.stores.paused import is_paused
from rewake.streamed import LogLine
from rewake.values.sealing import for_people
from rewake.views.approvals import ApprovalView
from rewake.views.costs import CostView, cost_view
from rewake.views.moments import moment, moment_or_none
from rewake.views.values import Values

_ENDED_BADLY = (RunState.STUCK, RunState.FAILED, RunState.CANCELLED)
STATES: Mapping[RunState, str] = {state: state.said for state in SHOWN}
"""What users call the states of a run."""


class ErrorView(msgspec.Struct, frozen=True):
    """How something failed."""

    type: str
    message: str
    traceback: str = ""
    attempts: int = 1


class Links(msgspec.Struct, frozen=True):
    """The addresses of a run and its parts, as references below the base URL."""

    self: str
    result: str
    history: str
    logs: str
    cancel: str
    stream: str


class ParentView(msgspec.Struct, frozen=True):
    """The operation of another run that has begun a run."""

    run: str
    key: str


class RunView(msgspec.Struct, frozen=True):
    """A run. `updated`: when it observed its newest event, got stuck, was resumed or was ended.
    `killed`: it is cancelled, and its cleanup did not run. `wake`: when it goes on by itself, at
    its next timer or an approval's deadline. `cancel`: the reason for cancelling it. `error`: why
    it failed or is stuck. `key`: the idempotency key that it was started with. `where`: the process
    that carries it on now, as `host:pid`. `held_up`: why it was put back, or lost, and does not go
        on yet. `kept_until`: when it is removed, if it has ended and is not kept for ever. `hold`:
    somebody holds it, so that it is not. `lap`: how often it continued as new, and one.
    `schedule`: which one has started it. `unserved_tags`: tags that no server serves, and for which
    tasks of it wait. `cost`: what it has used, where requests are billed.
    `tenant`: whose it is. `waits`: for which limit it waits, and has not begun.
    `pause`: nothing of it begins; it is `paused` once no step of it runs. `labels`, `status`,
    `progress` (`done`, `total`): as its body has set them.
    `origin`: of which run it was made, by a rerun or a fork. `reason`: why it does not go on.
    `usage`: how much of its bounds it has used.
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
    key: str | None = None
    where: str | None = None
    held_up: str | None = None
    killed: bool = False
    kept_until: str | None = None
    schedule: str | None = None
    hold: bool = False
    lap: int = 1
    pause: bool = False
    labels: dict[str, str] | UnsetType = UNSET
    status: Raw | UnsetType = UNSET
    progress: Raw | UnsetType = UNSET
    origin: OriginView | None = None
    reason: ReasonView | None = None
    approvals: list[ApprovalView] | UnsetType = UNSET
    unserved_tags: list[str] | UnsetType = UNSET
    cost: CostView | UnsetType = UNSET
    parent: ParentView | UnsetType = UNSET
    tenant: str | UnsetType = UNSET
    waits: str | UnsetType = UNSET
    usage: UsageView | UnsetType = UNSET


class UsageView(msgspec.Struct, frozen=True):
    """How much of its bounds a run has used: the entries of its history, or of its lap, of the most
    that there may be, and the mark of 50 or 80 % that it has passed (0: none). `most_bytes`: how
    many a value may have.
    """

    entries: int
    most_entries: int
    passed: int
    most_bytes: int


class ReasonView(msgspec.Struct, frozen=True):
    """Why a run does not go on, or has failed: a code of the reference, what to mend, what then."""

    code: str
    fix: str
    command: str


class OriginView(msgspec.Struct, frozen=True):
    """The run that a run was made of; `key`: the operation before which it was forked, or null."""

    run: str
    key: str | None = None


class ResultView(msgspec.Struct, frozen=True):
    """How a run ended: `result`, or `error`."""

    id: str
    state: str
    result: Raw | UnsetType = UNSET
    error: ErrorView | UnsetType = UNSET


def _told(text: str) -> str:
    """What code of users has said, for whoever may read it: a link in it opens nothing."""
    return without_links(for_people(text))


def line_view(line: LogLine) -> dict[str, str]:
    """The view of a log line."""
    return {"at": moment(line.at), "level": line.level, "message": _told(line.message)}


def links(run: str) -> Links:
    """The links of a run."""
    here = f"/v1/runs/{quote(run)}"
    parts = ("result", "history", "logs", "cancel", "stream")
    return Links(here, *(f"{here}/{part}" for part in parts))


def error_view(failure: Failure) -> ErrorView:
    """The view of a failure."""
    return ErrorView(
        for_people(failure.type),
        _told(failure.message),
        _told(failure.traceback),
        failure.attempts,
    )


def run_view(
    header: Header,
    outcome: Outcome | None = None,
    approvals: list[ApprovalView] | UnsetType = UNSET,
    unserved_tags: list[str] | UnsetType = UNSET,
    secret: Secret | None = None,
    usage: UsageView | UnsetType = UNSET,
) -> RunView:
    """The view of a run; `outcome`: how it ended, if known; `secret`: to show its status."""
    status, progress = _shown(header, secret)
    parent = header.parent
    return RunView(
        id=header.run,
        workflow=header.workflow,
        state=STATES[header.state],
        created=moment(header.created),
        updated=moment(max(header.created, header.clock, header.changed)),
        wake=moment_or_none(header.wake),
        cancel=None if header.cancel is None else _told(header.cancel),
        links=links(header.run),
        error=_error_of(header, outcome),
        key=header.key or None,
        where=header.where or None if header.state is RunState.RUNNING else None,
        held_up=_told(header.error) or None if header.state is RunState.READY else None,
        killed=header.killed,
        kept_until=moment_or_none(kept_until(header)),
        schedule=header.schedule or None,
        hold=header.hold,
        lap=header.lap.number,
        pause=is_paused(header),
        labels=header.labels or UNSET,
        status=status,
        progress=progress,
        origin=_origin_of(header),
        reason=_reason_of(header),
        approvals=approvals,
        unserved_tags=unserved_tags or UNSET,
        cost=cost_view(header) or UNSET,
        parent=UNSET if parent is None else ParentView(parent.run, parent.key),
        tenant=header.tenant or UNSET,
        waits=waits_for(header) or UNSET,
        usage=usage,
    )


def waits_for(header: Header) -> str:
    """The limit for which a run waits before it begins; empty: none."""
    admission = header.admission
    if admission is None or admission.inside or header.state is not RunState.PARKED:
        return ""
    if admission.line is not None:
        return admission.line.said
    rates = in_order(admission.terms.limits, LimitKind.RATE)
    return ", ".join(map(said, rates))


def _shown(header: Header, secret: Secret | None) -> tuple[Raw | UnsetType, Raw | UnsetType]:
    """What its body shows of a run: its status, and its progress."""
    if header.status is None or secret is None:
        return UNSET, UNSET
    values = Values(secret, header.run, sealed=header.digest_key != "")
    shown = values.show(header.status, key="", purpose=Purpose.STATUS)
    found = msgspec.json.decode(shown, type=dict[str, Raw])
    if "$unreadable" in found:
        return shown, UNSET
    return found.get("status", UNSET), found.get("progress", UNSET)


def _reason_of(header: Header) -> ReasonView | None:
    found = reason_of(header, _told(header.error))
    return None if found is None else ReasonView(*found)


def _origin_of(header: Header) -> OriginView | None:
    made = header.origin
    return None if made is None else OriginView(made.run, made.key or None)


def result_view(outcome: Outcome, values: Values) -> ResultView:
    """The view of a run's outcome."""
    state = STATES[END_OF[outcome.kind]]
    if outcome.value is not None:
        shown = values.show(outcome.value, key="", purpose=Purpose.OUTPUT)
        return ResultView(values.run, state, result=shown)
    failure = outcome.failure or Failure("cancelled", "the run was cancelled")
    return ResultView(values.run, state, error=error_view(failure))


def _error_of(header: Header, outcome: Outcome | None) -> ErrorView | None:
    if outcome is None and header.tail and isinstance(header.tail[-1], Finished):
        outcome = header.tail[-1].outcome
    if outcome is not None and outcome.failure is not None:
        return error_view(outcome.failure)
    if header.killed:  # what it had been stuck by, or lost, is not why it ended
        return ErrorView("killed", _told(header.cancel or ""))
    if header.state in _ENDED_BADLY and header.error:  # its beginning, for a list
        type_, _, message = _told(header.error).partition(": ")
        return ErrorView(type_, message)
    return None

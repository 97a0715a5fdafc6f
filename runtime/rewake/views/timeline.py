"""A run's history for people: every entry in order, and how each operation stands.

Without `Values`, it shows no stored value and reads none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType

from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.limited import LimitKind, in_order, said
from rewake.noted import Forked, Try
from rewake.records import (
    CancelRequested,
    ClockSetBack,
    Emitted,
    Entry,
    Failure,
    Finished,
    Fired,
    Logged,
    Millis,
    Operation,
    Outcome,
    Retried,
    Scheduled,
    Signalled,
    Started,
    StartedAnew,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.stores.history import History, StepTries
from rewake.stores.operations import MOST_TRIES, failed_try
from rewake.values.sealing import for_people
from rewake.views.moments import moment, moment_or_none
from rewake.views.runs import ErrorView, error_view, line_view
from rewake.views.values import Values

ENDED = {
    OutcomeKind.OK: "done",
    OutcomeKind.ERROR: "failed",
    OutcomeKind.TIMEOUT: "timed_out",
    OutcomeKind.CANCELLED: "cancelled",
}


OPERATION_STATES = ("waiting", "running", "retrying", *ENDED.values(), "withdrawn")
"""Every state of an operation."""


class TryView(msgspec.Struct, frozen=True):
    """One attempt. `ended` is null while it goes on; `where` is its process, as `host:pid`.

    One that ended without `error` and is not `lost` worked, or was handed over to another process.
    """

    attempt: int
    began: str | None
    ended: str | None
    where: str | None
    error: ErrorView | None = None
    lost: bool = False


class OperationView(msgspec.Struct):
    """One operation of a run.

    `state` is `waiting`, `running` or `retrying` while it is open, then `done`, `failed`,
    `timed_out`, `cancelled`, or `withdrawn` by the workflow (the losers of a race). `duration` is
    in milliseconds, from `started` (or from `asked`, if no process claimed it) to `ended`.
    `attempts` counts all attempts but those that were handed over, `lost` those whose process
    died, or that fell silent. `error` is its failure, or while it is retried, its newest
    attempt's. `tries` are its newest attempts, one by one; `arguments` what a task was called with,
    `tag` the servers that carry it out, `child` the run that it is about, `waits` the limit that it
    waits for, `cached` the run whose result it was given, without an attempt of its own, `progress`
    what its attempts have told last, until it is done.
    """

    key: str
    kind: Kind
    name: str
    state: str
    asked: str
    started: str | None = None
    ended: str | None = None
    duration: Millis | None = None
    due: str | None = None
    attempts: int = 0
    lost: int = 0
    result: Raw | UnsetType = UNSET
    error: ErrorView | UnsetType = UNSET
    tries: list[TryView] = []
    arguments: Raw | UnsetType = UNSET
    tag: str | UnsetType = UNSET
    child: str | UnsetType = UNSET
    waits: str | UnsetType = UNSET
    cached: str | UnsetType = UNSET
    progress: Raw | UnsetType = UNSET


def waits_for(item: Operation) -> str:
    """The limit for which a task waits; empty: none."""
    if item.line is not None:
        return item.line.said
    if item.not_before is None or item.reserved <= item.number:
        return ""
    return ", ".join(map(said, in_order(item.terms.limits, LimitKind.RATE)))


def timeline(
    history: History,
    values: Values | None = None,
    running: Mapping[str, tuple[str, Try]] = {},
    elsewhere: str = "",
) -> tuple[list[dict[str, Any]], list[OperationView]]:
    """The entries of a history, and its operations in the order in which they were asked for.

    Without `values` no input and no result is shown. `running`: by key, the names of steps and the
    attempts at them that go on, which no history has yet. `elsewhere`: the other process that
    carries the run on, and in it the steps that are open.
    """
    reading = Reading(values)
    reading.items.update(history.operations)
    for entry in history.entries:
        reading.read(entry)
    for key, (name, attempt) in running.items():
        reading.go_on(key, name, attempt)
    if elsewhere:
        reading.go_on_elsewhere(elsewhere)
    return reading.entries, list(reading.operations.values())


class Reading:
    """One pass through a history. A command has no time of its own, so it gets the last event's.

    It may begin at the entry with the number `index`; `items` has the items of operations.
    """

    def __init__(self, values: Values | None, index: int = 0) -> None:
        self.entries: list[dict[str, Any]] = []
        self.operations: dict[str, OperationView] = {}
        self.items: dict[str, Operation] = {}
        self.tries = StepTries()
        self._values = values
        self._index = index

    def read(self, entry: Entry) -> None:
        """Read the next entry."""
        self._count_try(entry)
        shown: dict[str, Any] = {
            "index": self._index + len(self.entries),
            "type": "scheduled" if isinstance(entry, Scheduled) else entry.__struct_config__.tag,
            "at": moment(self.tries.clock),
        }
        shown.update(self._details(entry))
        self.entries.append(shown)

    def _count_try(self, entry: Entry) -> None:
        over = self.tries.read(entry)
        if isinstance(entry, Stepped) and over is not None and not self._encloses(entry.key):
            self._try(entry.key, failed_try(over, entry.outcome.failure), entry.outcome.failure)

    def _encloses(self, key: str) -> bool:
        """Whether this is a block: what it does are attempts of other operations."""
        view = self.operations.get(key)
        return view is not None and view.kind.traits.encloses

    def read_ahead(self, entry: Entry) -> None:
        """Read an entry only for what it says of the operations that are here."""
        self._count_try(entry)
        if not isinstance(entry, Scheduled):
            self._details(entry)

    def _details(self, entry: Entry) -> dict[str, Any]:
        match entry:
            case Started():
                return self._started(entry)
            case CancelRequested():
                return {"reason": for_people(entry.reason)}
            case Finished():
                return self._outcome(entry.outcome, "", Purpose.OUTPUT)
            case Scheduled() | Emitted():
                return self._asked(entry)
            case Stepped():
                self._step(entry)
                shown = {
                    "key": entry.key,
                    **self._outcome(entry.outcome, entry.key, Purpose.RESULT),
                }
                again = entry.retry_at
                return shown if again is None else {**shown, "retry_at": moment(again)}
            case Fired() | Signalled():
                return self._settled(entry)
            case Withdrawn():
                self._withdraw(entry.key)
            case Forked() | Retried():
                return self._go_on(entry)
            case Logged():
                return {"lines": [line_view(line) for line in entry.lines]}
            case _:
                pass
        return {} if isinstance(entry, ClockSetBack) else {"key": entry.key}

    def _go_on(self, entry: Forked | Retried) -> dict[str, Any]:
        self._retry()
        if isinstance(entry, Forked):
            return {"run": entry.run, "key": entry.key}
        return {"error": error_view(entry.failure), "forgot": entry.forgot}

    def _started(self, entry: Started) -> dict[str, Any]:
        shown = self._shown("input", entry.args, "", Purpose.INPUT)
        shown |= {"by": entry.by} if entry.by else {}
        if isinstance(entry, StartedAnew) and entry.failure is not None:
            shown |= {"error": error_view(entry.failure), "begins": moment(entry.begins)}
        return shown

    def _asked(self, entry: Scheduled | Emitted) -> dict[str, Any]:
        if isinstance(entry, Emitted):
            item = self._shown("value", entry.value, entry.key, Purpose.EMITTED)
            return {"key": entry.key, **item}
        self._ask(entry)
        about = {"key": entry.key, "kind": entry.kind, "name": entry.name}
        about |= {"tag": entry.tag} if entry.tag else {}
        about |= {"child": entry.about.run} if entry.about is not None else {}
        if (asked := entry.kind.traits).at_once and asked.asked_with and entry.args is not None:
            about |= self._shown("value", entry.args, entry.key, asked.asked_with)
        return about if entry.due is None else {**about, "due": moment(entry.due)}

    def _retry(self) -> None:
        """The steps that wait for their next attempt begin at once."""
        for view in self.operations.values():
            if view.state == "retrying" and view.kind.traits.inline:
                view.state, view.due, view.error = "waiting", None, UNSET

    def _shown(self, name: str, value: Value, key: str, purpose: Purpose) -> dict[str, Any]:
        if self._values is None:
            return {}
        return {name: self._values.show(value, key=key, purpose=purpose)}

    def _outcome(self, outcome: Outcome, key: str, purpose: Purpose | None) -> dict[str, Any]:
        shown: dict[str, Any] = {"outcome": outcome.kind}
        if outcome.value is not None and purpose is not None:
            shown |= self._shown("result", outcome.value, key, purpose)
        if outcome.failure is not None:
            shown["error"] = error_view(outcome.failure)
        return shown

    def _ask(self, entry: Scheduled) -> None:
        if entry.kind.traits.at_once:
            return  # nobody waits for it, and nothing becomes of it
        view = OperationView(
            entry.key,
            entry.kind,
            entry.name,
            "waiting",
            asked=moment(self.tries.clock),
            due=moment_or_none(entry.due),
            tag=entry.tag or UNSET,
            child=UNSET if entry.about is None else entry.about.run,
        )
        if entry.args is not None and entry.kind.traits.dispatched:
            shown = self._shown("arguments", entry.args, entry.key, Purpose.CALL)
            view.arguments = shown.get("arguments", UNSET)
        self.operations[entry.key] = view
        item = self.items.get(entry.key)
        if item is not None:
            self._follow(view, item, entry.round)

    def _follow(self, view: OperationView, item: Operation, round: int) -> None:
        """Add what the operation's own item says; of an earlier round, what was tried."""
        if item.progress is not None:
            shown = self._shown("progress", item.progress, item.key, Purpose.PROGRESS)
            view.progress = shown.get("progress", UNSET)
        if item.round < round:
            view.attempts, view.tries = item.before + item.attempts, _tries(item)
            return
        view.started = moment_or_none(item.first)
        view.attempts, view.lost = item.before + item.attempts, item.lost
        view.tries = _tries(item)
        if item.outcome is not None:
            self._settle(view, item.outcome, item.first, item.at)
            return
        if item.failure is not None:
            view.error = error_view(item.failure)
        if item.owner:
            view.state = "running"
        elif limit := waits_for(item):
            view.waits, view.due = limit, moment_or_none(item.not_before)
        elif item.not_before is not None:
            view.state, view.due = "retrying", moment(item.not_before)

    def _step(self, entry: Stepped) -> None:
        view = self.operations.get(entry.key)
        if view is None:
            return
        if entry.retry_at is None:
            self._settle(view, entry.outcome, None, entry.ended)
        elif entry.outcome.failure is not None:
            view.state, view.due = "retrying", moment(entry.retry_at)
            view.error = error_view(entry.outcome.failure)

    def _settled(self, entry: Fired | Signalled) -> dict[str, Any]:
        if isinstance(entry, Fired) and entry.kind.traits.inline:
            return {"key": entry.key, "begins": True}
        self._end(entry.key, ENDED[entry.outcome.kind], self.tries.clock)
        if isinstance(entry, Fired):
            return {"key": entry.key}
        view = self.operations.get(entry.key)
        shown = self._shown("result", entry.value, entry.signal, Purpose.SIGNAL)
        if view is not None:
            view.result = shown.get("result", UNSET)
        return {"key": entry.key, "signal": entry.signal, **shown}

    def _try(self, key: str, attempt: Try, failure: Failure | None = None) -> bool:
        """Add an attempt at a step; False if its item has it already, as lost."""
        view = self.operations.get(key)
        if view is None or attempt.attempt in [each.attempt for each in view.tries]:
            return False
        view.attempts += 1
        tries = sorted([*view.tries, _try_view(attempt, failure)], key=lambda each: each.attempt)
        view.tries = tries[-MOST_TRIES - 1 :]
        return True

    def go_on(self, key: str, name: str, attempt: Try) -> None:
        """Add an attempt at a step that goes on."""
        view = self.operations.get(key)
        if view is None:  # it is committed with its end
            view = OperationView(key, Kind.STEP, name, "", asked=moment(self.tries.clock))
            self.operations[key] = view
            if key in self.items:
                self._follow(view, self.items[key], 0)
        if view.ended is None and self._try(key, attempt):
            view.state, view.due, view.error = "running", None, UNSET

    def go_on_elsewhere(self, where: str) -> None:
        """Add the attempts at the open steps, of which nobody here knows when they began."""
        for key, view in self.operations.items():
            if view.kind.traits.inline and view.state == "waiting":
                newest = max((each.attempt for each in view.tries), default=0)
                self.go_on(key, view.name, Try(newest + 1, None, None, where))

    def _settle(
        self,
        view: OperationView,
        outcome: Outcome,
        started: Millis | None,
        at: Millis | None,
    ) -> None:
        shown = self._outcome(outcome, view.key, view.kind.traits.ends_with)
        view.result, view.error = shown.get("result", UNSET), shown.get("error", UNSET)
        view.cached = outcome.cached or UNSET
        self._end(view.key, ENDED[outcome.kind], at, started)

    def _withdraw(self, key: str) -> None:
        """Whatever became of it, the workflow had taken it back before it saw any of that."""
        self._end(key, "withdrawn", self.tries.clock)
        if key in self.operations:
            self.operations[key].state = "withdrawn"

    def _end(self, key: str, state: str, at: Millis | None, started: Millis | None = None) -> None:
        view = self.operations.get(key)
        if view is None or view.ended is not None:
            return
        view.state, view.ended = state, moment_or_none(at)
        if at is not None:
            view.duration = max(0, at - (started or self.tries.asked[key]))


def _tries(item: Operation) -> list[TryView]:
    """The attempts at a task: those that are over, and the newest one.

    Whole errors are kept of the newest failed attempt only.
    """
    tries, newest = list(item.tries), None if item.outcome is None else item.outcome.failure
    failed = [each.attempt for each in tries if each.type and not each.lost]
    whole = {failed[-1]: item.failure} if failed else {}
    if item.number and not (tries and tries[-1].attempt == item.number):
        kind, message = ("", "") if newest is None else (newest.type, newest.message)
        tries.append(Try(item.number, item.began, item.at, item.where, kind, message))
        whole[item.number] = newest
    return [_try_view(each, whole.get(each.attempt)) for each in tries]


def _try_view(over: Try, failure: Failure | None = None) -> TryView:
    traceback = failure.traceback if failure is not None and failure.type == over.type else ""
    return TryView(
        over.attempt,
        moment_or_none(over.began),
        moment_or_none(over.ended),
        over.where or None,
        error_view(Failure(over.type, over.message, traceback)) if over.type else None,
        over.lost,
    )

"""Retrying a failed run: its history is cut before what ended it, and the run goes on from there.

1. What ended it (`Finished.cause`) is the outcome of an operation, which is forgotten, or else the
   body itself, whose segment runs again: the event at its beginning is observed once more.
2. All that was recorded before stands. `Retried` marks the place: open waits go on as if the time
   between had not been, and a timer that had ended the run begins anew.
3. Each retry begins a *round*. What is asked for after the cut is of the new round, and so is what
   was open at the cut and has not succeeded. An outcome of one round never changes, and is none to
   a later one; no task begins while an attempt of an earlier round may run on, in a process that
   has not heard of its end (`rewake.stores.operations`). Keys stay, and so do the idempotency
   keys of tasks.
4. What succeeded after the cut (a compensation) would be forgotten, and a step that runs at most
   once and failed, or was withdrawn after it, would be begun again: so the caller must agree.
5. What the body logged or emitted stays: it was told. So what a reader counts of it only grows.
6. No attempt gives its number back: those at steps that are cut off are kept in items of theirs.

The cut history replaces the old one in one conditional write of the header, while the run is
failed and no newer run of its idempotency key is begun (`rewake.engine.starts.starting`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from rewake.engine.turns.laps import told
from rewake.errors import RunConflict
from rewake.kin import OtherRun, child_of, is_child_of
from rewake.kinds import DueMeans, OutcomeKind
from rewake.noted import Attempted, Cause, Try
from rewake.records import (
    CancelRequested,
    Completed,
    Entry,
    Event,
    Finished,
    Fired,
    Header,
    Millis,
    Operation,
    Retried,
    Scheduled,
    ScheduledRun,
    Started,
    Stepped,
    Withdrawn,
)
from rewake.replay.differences import key_of
from rewake.replay.ends import DEADLINE
from rewake.stores.history import History, StepTries
from rewake.stores.operations import ended_try

_ASYNCIO = frozenset({"timer", DEADLINE})
"""The names of timers that end in a `TimeoutError`."""


NAMED = 5
"""So many of what would be forgotten are named."""


@dataclass(slots=True)
class Cut:
    """A failed run as it goes on: `entries` is its history, `cancel` and `cancels` its header's.

    `reopened`: what begins anew. `lost`: what was carried out and would be forgotten. `tries`: by
    key, the attempts at steps that the history no longer has.
    """

    entries: list[Entry]
    cancel: str | None
    cancels: int
    reopened: list[Scheduled] = field(default_factory=list)
    lost: list[Scheduled] = field(default_factory=list)
    tries: dict[str, list[Try]] = field(default_factory=dict)


def cut(header: Header, history: History, now: Millis) -> Cut:
    """Cut the history of a failed run before what ended it. Raises `RunConflict`."""
    *entries, end = history.entries
    if not isinstance(end, Finished) or end.cause is None:
        raise RunConflict(f"run {header.run!r} did not end by an error of its own")
    at = [i for i, entry in enumerate(entries) if isinstance(entry, Event)][end.cause.event]
    kept, event, gone = entries[:at], entries[at], entries[at + 1 :]
    asked = {entry.key: entry for entry in entries if isinstance(entry, Scheduled)}
    made = Cut([], *cancels_before(header, kept, event))
    again = entries[at + _repeats(end.cause, event) :]
    lost = dict.fromkeys(_carried_out(again, history))
    made.lost = [asked[key] for key in lost]
    attempts = _Attempts(history.operations)
    for place, entry in enumerate(entries):
        attempts.read(entry, gone=place >= at + _repeats(end.cause, event))
    made.tries = attempts.gone
    said = list(told(gone, event))
    if isinstance(event, Started):
        made.entries = [replace(event, clock=now, round=header.round + 1), *said]
        return made
    reopened = _Reopening(header, history, end.cause, now)
    mark = replace(_retried(header, end, event, asked, now), forgot=list(lost))
    made.entries = [*reopened.reopened(kept, event), mark]
    made.reopened = reopened.made
    made.entries += said
    if _repeats(end.cause, event) and isinstance(event, Stepped):
        made.entries.append(attempts.seen_again(event, now))
    return made


def _repeats(cause: Cause, event: Entry) -> bool:
    """Whether the body itself ended the run, so that what followed this event runs again."""
    return cause.key != key_of(event)


def cancels_before(header: Header, kept: Sequence[Entry], event: Entry) -> tuple[str | None, int]:
    """The reason and the number of the requests to cancel that stand: those before the cut."""
    if isinstance(event, CancelRequested):
        return header.cancel, header.cancels
    for entry in reversed(kept):
        if isinstance(entry, CancelRequested):
            return entry.reason, entry.number
    return None, 0


def _retried(
    header: Header, end: Finished, event: Entry, asked: dict[str, Scheduled], now: Millis
) -> Retried:
    assert end.outcome.failure is not None
    assert end.cause is not None
    made = Retried(now, header.epoch, end.outcome.failure, round=header.round + 1)
    if not isinstance(event, Fired):
        return made
    late = end.cause.late and asked[event.key].name in _ASYNCIO
    if late or not _repeats(end.cause, event):
        return replace(made, anew=event.key)
    return replace(made, over=event.key)


def _carried_out(gone: Sequence[Entry], history: History) -> Iterable[str]:
    """The keys of what was carried out after the cut, and succeeded or must not be begun again."""
    for entry in gone:
        match entry:
            case Stepped(once=True):
                yield entry.key
            case Stepped(retry_at=None, outcome=outcome) if outcome.kind is OutcomeKind.OK:
                yield entry.key
            case Withdrawn(key=key, once=True):
                yield key
            case Scheduled() if item := history.item(entry):
                kind = None if item.outcome is None else item.outcome.kind
                begun = item.number > 0 and kind in (None, OutcomeKind.CANCELLED)
                if begun or kind is OutcomeKind.OK:
                    yield entry.key


class _Reopening:
    """Opens again what was open at the cut and has not succeeded, in the new round."""

    def __init__(self, header: Header, history: History, cause: Cause, now: Millis) -> None:
        self._run = header.run
        self._round = header.round + 1
        self._history = history
        self._cause = cause
        self._now = now
        self.made: list[Scheduled] = []

    def reopened(self, kept: Sequence[Entry], event: Entry) -> list[Entry]:
        """The entries before the cut; `event` is the one behind it."""
        closed = {entry.key for entry in kept if isinstance(entry, Completed | Withdrawn)}
        if _repeats(self._cause, event):
            closed.add(key_of(event))  # it is observed again
        clocks = [entry.clock for entry in kept if isinstance(entry, Event)]
        newest, clock, made = clocks[-1], 0, list[Entry]()
        for entry in kept:
            clock = entry.clock if isinstance(entry, Event) else clock
            if isinstance(entry, Scheduled) and entry.key not in closed and self._fails(entry):
                since = clock if entry.key == self._cause.key else newest
                self.made.append(self._again(entry, max(0, self._now - since)))
                made.append(self.made[-1])
            else:
                made.append(entry)
        return made

    def _fails(self, entry: Scheduled) -> bool:
        """Whether what awaits this operation needs another outcome than is there."""
        item = self._history.item(entry)
        outcome = None if item is None else item.outcome
        succeeded = outcome is not None and outcome.kind is OutcomeKind.OK
        return entry.kind.traits.awaited and (entry.key == self._cause.key or not succeeded)

    def _again(self, entry: Scheduled, later: Millis) -> Scheduled:
        due = entry.due
        if due is not None and entry.kind.traits.due is DueMeans.DEADLINE:
            due += later
        made = replace(entry, round=self._round, due=due)
        return replace(made, other=self._anew(entry)) if isinstance(entry, ScheduledRun) else made

    def _anew(self, entry: ScheduledRun) -> OtherRun | None:
        """The run that is asked for again: another one, if it was cancelled, for that cannot go on.

        One of an id that the body gave is that one for ever.
        """
        about, item = entry.other, self._history.item(entry)
        outcome = None if item is None else item.outcome
        cancelled = outcome is None or outcome.kind is OutcomeKind.CANCELLED
        if about is None or not cancelled:
            return about
        if not is_child_of(about.run, self._run, entry.key, entry.round):
            return about
        return replace(about, run=child_of(self._run, entry.key, self._round))


class _Attempts:
    """The attempts at steps that a history has no more once it is cut."""

    def __init__(self, items: dict[str, Operation]) -> None:
        self._items = items
        self._tries = StepTries()
        self._again: dict[str, Millis] = {}
        self._blocks = set[str]()
        self.gone = defaultdict[str, list[Try]](list)

    def read(self, entry: Entry, *, gone: bool) -> None:
        """Read one entry; `gone`: it is cut off."""
        over = self._tries.read(entry)
        match entry:
            case Scheduled(key=key, kind=kind) if kind.traits.encloses:
                self._blocks.add(key)
            case Stepped(key=key):
                self._again[key] = entry.retry_at or 0
                if gone and over is not None and key not in self._blocks:
                    self.gone[key].append(ended_try(over, entry.outcome))
            case Withdrawn(key=key, kind=kind) if gone and kind.traits.inline:
                self._withdraw(key)

    def seen_again(self, event: Stepped, now: Millis) -> Stepped:
        """The end of an attempt that stands, as the retried run observes it once more."""
        made = event.attempt or Attempted(self._tries.asked[event.key])
        return replace(event, clock=now, attempt=replace(made, ended=event.ended))

    def _withdraw(self, key: str) -> None:
        """Its process may have died before it kept the attempt that it then stopped."""
        item, now, again = self._items.get(key), self._tries.clock, self._again.get(key, 0)
        tries = [] if item is None else item.tries
        if any(each.ended is not None and each.ended >= now for each in tries):
            return
        if again <= now:
            number = max(self._tries.numbers[key], 0 if item is None else item.number) + 1
            began = max(self._tries.asked[key], again)
            self.gone[key].append(Try(number, began, now, self._tries.where))


def forgotten(run: str, lost: Sequence[Scheduled]) -> str:
    """Why a retry is refused that would forget what was done."""
    named = ", ".join(f"the {each.kind} {each.name} ({each.key})" for each in lost[:NAMED])
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    told = f"run {run!r} would forget what it has done, and may do it again"
    return f"{told}: {named}{more}; to do so, say discard_cleanup (--discard-cleanup)"

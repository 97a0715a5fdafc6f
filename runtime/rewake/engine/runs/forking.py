"""Forking a run: another one begins with a copy of its history, up to where an operation was asked.

1. What was observed before that moment is copied, with what it came to; the moment itself comes
   again, so the body asks for the operation anew, with the code, and the input, of now. What it
   asked for in the same moment is asked for anew too.
2. What is open there has been carried out for the other run. If it succeeded, that stands: nothing
   is done twice. Else it begins here, under keys of its own, and waits go on from now.
3. The copy draws what the other run drew, since it has its seed. From the fork on both are of
   another seed, so that no id comes twice. Idempotency keys are of the run, so all are others.
4. Values are copied, and bound to the new run: the other one may be removed the next day. Links of
   waits are made of the run that waits, so those of the copy open nothing of the other.
5. With another input, the arguments of what was asked for before are not compared; nor are those of
   what was asked for after a wait that has links, for they may be of these.

What is copied is written first, and exists once the new run's header names it. What a process
leaves that dies before that is removed (`rewake.stores.forks`). What the body said of its run
within a block that has ended is not known of the copy until it is said again.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from rewake.engine.runs.retries import cancels_before
from rewake.errors import RunNotFound
from rewake.kin import child_of, is_child_of
from rewake.kinds import DueMeans, Kind, OutcomeKind, Purpose
from rewake.noted import Attempted, Forked
from rewake.records import (
    Completed,
    Emitted,
    Entry,
    Event,
    Fired,
    Header,
    Millis,
    Operation,
    Outcome,
    Scheduled,
    ScheduledRun,
    Signalled,
    Started,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.replay.differences import UNCOMPARED
from rewake.spelled import key_meant, spelled
from rewake.stores.history import History, StepTries
from rewake.values.run_codec import RunCodec

_NAMED = 5


@dataclass(slots=True)
class Fork:
    """What a fork begins with. `event`: the one that comes again."""

    entries: list[Entry]
    items: list[Operation]
    event: Entry


def fork(header: Header, history: History, key: str, run: str, now: Millis, seed: int) -> Fork:
    """The beginning of a fork of this run before an operation. Raises `RunNotFound`."""
    entries = history.entries
    place = _place_of(header.run, entries, key)
    at = max(i for i in range(place) if isinstance(entries[i], Event))
    kept, event = list(entries[:at]), entries[at]
    if isinstance(event, Started):
        return Fork([replace(event, clock=now)], [], event)
    items = list(_items(history, kept, event, run))
    settled, clocks = {item.key for item in items}, [e.clock for e in kept if isinstance(e, Event)]
    made = [_own(e, header, run, settled, now - clocks[-1]) for e in kept]
    over = event.key if isinstance(event, Fired) else ""
    made.append(Forked(now, header.run, key, seed, over))
    if isinstance(event, Stepped):
        tries = StepTries()
        for entry in kept:
            tries.read(entry)
        began = event.attempt or Attempted(tries.asked[event.key])
        made.append(replace(event, clock=now, attempt=replace(began, ended=event.ended)))
    elif isinstance(event, Signalled):
        made.append(replace(event, clock=now))
    return Fork(made, items, event)


def begins_with(header: Header, made: Fork) -> dict[str, object]:
    """The fields of a fork's header that are those of the other run."""
    kept = {} if isinstance(made.event, Started) else {"seed": header.seed, "round": header.round}
    cancel, cancels = cancels_before(header, made.entries, made.event)
    same = {"runtime": header.runtime, "lap": header.lap}
    return {**kept, **same, "cancel": cancel, "cancels": cancels}


def _place_of(run: str, entries: Sequence[Entry], key: str) -> int:
    """Where the operation was asked for. Raises `RunNotFound`, which names keys like it."""
    asked = {e.key: i for i, e in reversed([*enumerate(entries)]) if isinstance(e, Scheduled)}
    if (meant := key_meant(key)) in asked:
        return asked[meant]
    near = difflib.get_close_matches(meant, asked, _NAMED, 0.0) if len(asked) < 10_000 else []
    named = f"; the nearest are {', '.join(repr(spelled(each)) for each in near)}" if near else ""
    raise RunNotFound(f"run {run!r} has asked for no operation {key!r}{named}")


def _items(history: History, kept: Sequence[Entry], event: Entry, run: str) -> Sequence[Operation]:
    """The items of what has an outcome that stands, as those of the fork."""
    asked = {e.key: e for e in kept if isinstance(e, Scheduled) and e.kind.traits.awaited}
    observed = {e.key for e in kept if isinstance(e, Completed)}
    gone = {e.key for e in kept if isinstance(e, Withdrawn)}
    found = list[Operation]()
    for key, entry in asked.items():
        item = history.item(entry)
        if item is None or item.outcome is None or key in gone:
            continue
        again = isinstance(event, Completed) and event.key == key
        if key in observed or again or item.outcome.kind is OutcomeKind.OK:
            found.append(_copied(item, run))
    return found


def _copied(item: Operation, run: str) -> Operation:
    """The item as it was when it ended: nobody holds it, and it is not due."""
    names = ("key", "kind", "name", "round", "attempts", "before", "number", "began", "where")
    more = ("tries", "lost", "first", "failure", "outcome", "at")
    return Operation(run, **{name: getattr(item, name) for name in (*names, *more)})


def _own(entry: Entry, header: Header, run: str, settled: set[str], later: Millis) -> Entry:
    """The entry as one of the fork: what is open waits on from now, and children are its own."""
    if not isinstance(entry, Scheduled) or entry.key in settled:
        return entry
    if isinstance(entry, ScheduledRun) and entry.other is not None:
        other, key = entry.other, entry.key
        if is_child_of(other.run, header.run, key, header.round):
            own = replace(other, run=child_of(run, key, entry.round))
            entry = replace(entry, other=own)
    if entry.due is not None and entry.kind.traits.due is DueMeans.DEADLINE:
        entry = replace(entry, due=entry.due + max(0, later))
    return entry


class Binding:
    """Binds the values of a run to its fork, entry by entry.

    `compare`: whether arguments are still compared, up to the first wait that has links.
    """

    def __init__(self, old: RunCodec, new: RunCodec, *, compare: bool) -> None:
        self._old, self._new, self._compare = old, new, compare

    def entry(self, entry: Entry) -> Entry:
        """The entry with its value bound. Raises `CheckpointUnreadable`."""
        match entry:
            case Started(args=args):
                return replace(entry, args=self._bound(args, "", Purpose.INPUT))
            case Scheduled(key=key, kind=kind):
                digest = entry.digest if self._compare else UNCOMPARED
                self._compare = self._compare and not kind.traits.linked
                asked = self._bound_or_none(entry.args, key, kind.traits.asked_with)
                return replace(entry, args=asked, digest=digest)
            case Stepped(key=key, outcome=outcome):
                return replace(entry, outcome=self._outcome(outcome, key, Kind.STEP))
            case Emitted(key=key, value=value):
                return replace(entry, value=self._bound(value, key, Purpose.EMITTED))
            case Signalled(signal=signal, value=value):
                return replace(entry, value=self._bound(value, signal, Purpose.SIGNAL))
            case _:
                return entry

    def item(self, item: Operation) -> Operation:
        """The item with its outcome bound. Raises `CheckpointUnreadable`."""
        assert item.outcome is not None
        item.outcome = self._outcome(item.outcome, item.key, item.kind)
        return item

    def _outcome(self, outcome: Outcome, key: str, kind: Kind) -> Outcome:
        value = self._bound_or_none(outcome.value, key, kind.traits.ends_with)
        return replace(outcome, value=value)

    def _bound_or_none(
        self, value: Value | None, key: str, purpose: Purpose | None
    ) -> Value | None:
        return value if value is None or purpose is None else self._bound(value, key, purpose)

    def _bound(self, value: Value, key: str, purpose: Purpose) -> Value:
        return self._old.bound_to(self._new, value, key=key, purpose=purpose)

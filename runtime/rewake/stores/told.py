"""What a run's stream tells, and a page of it: both sequences in one order.

A page merges the history and the batches by their moments, and each keeps its own order. It goes
only as far as both are known: while one of them has more than was read, nothing of the other that
is later is told. So who reads all of a stream gets it in the order of time. Who follows it gets
what an attempt said when that is written, which may be a second late.

The header is read before the batches, and what an attempt said is written before its outcome. So
who is told that a run has ended has got all that its attempts said.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec

from rewake.errors import CheckpointUnreadable
from rewake.kinds import Kind, OutcomeKind
from rewake.records import (
    CancelRequested,
    Completed,
    Emitted,
    Entry,
    Failure,
    Finished,
    Fired,
    Header,
    Logged,
    LogLine,
    Millis,
    Outcome,
    Retried,
    Scheduled,
    Started,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.states import END_OF, LIVE, TERMINAL, RunState
from rewake.stores.places import Place, in_cut_history, is_item
from rewake.stores.reads import Reads
from rewake.stores.streams import BATCHES_AT_ONCE, Link
from rewake.streamed import StreamPart

CANCELLING = "cancelling"
"""The state of a run that was asked to cancel, as its stream tells it."""
_ENDED = {
    OutcomeKind.OK: "done",
    OutcomeKind.ERROR: "failed",
    OutcomeKind.TIMEOUT: "timed_out",
    OutcomeKind.CANCELLED: "cancelled",
}
_STEPS = 500
"""So many entries are looked at for one page, at the most."""


class Telling(StrEnum):
    """What one thing that is told is."""

    ITEM = "item"
    STATE = "state"
    OPERATION = "operation"
    LOG = "log"


class Told(msgspec.Struct, frozen=True):
    """One thing that a stream tells. What it has depends on what it is.

    `key` and `attempt`: who has said it. An item of the body has the key of its own operation, a
    line of the body none; the attempts of a body are the rounds of its run.
    """

    what: Telling
    at: Millis
    key: str = ""
    attempt: int = 1
    value: Value | None = None
    line: LogLine | None = None
    state: str = ""
    kind: Kind | None = None
    name: str = ""
    failure: Failure | None = None
    reason: str = ""


class Page(NamedTuple):
    """What was told between two places. `ended`: the run has ended, and this was all."""

    told: list[Told]
    place: Place
    more: bool
    ended: bool


class _Step(NamedTuple):
    """What one entry or one batch tells, and its place in the merge: moment, then rank."""

    order: tuple[Millis, int]
    told: list[Told]
    place: Any
    """The place behind the entry; of a batch its number."""


_ASKED, _SAID, _ENDS = range(3)
"""Of one moment: what is asked for comes before what is said, and that before what ends."""


async def read_page(store: Reads, run: str, place: Place, limit: int) -> Page:
    """Read on from a place: about `limit` things. Raises `RunNotFound`."""
    header = await store.header(run)
    if place.round != header.round:
        place = in_cut_history(place, header.round, (await store.entries(header)).entries)
    history, more_history = await _history(store, header, place, limit)
    batches, more_batches = await _batches(store, run, place.batch)
    told: list[Told] = []
    place, left = msgspec.structs.replace(place), [history, batches]
    while len(told) < limit and any(left):
        if (more_history and not history) or (more_batches and not batches):
            break
        first = min((each for each in left if each), key=lambda each: each[0].order)
        step = first.pop(0)
        told += step.told
        if first is history:
            place = msgspec.structs.replace(step.place, batch=place.batch)
        else:
            place.batch = step.place
    more = bool(more_history or more_batches or history or batches)
    if not more:
        told += _by_header(header, place)
    return Page(told, place, more, header.state in TERMINAL and not more)


def _by_header(header: Header, place: Place) -> Iterator[Told]:
    """The state that no entry tells of: stuck, resumed, or ended from outside."""
    state, before = header.state, place.state
    if state in LIVE:
        if before != RunState.STUCK:
            return
        said = RunState.RUNNING.value
    else:
        said = state.said
    if said == before:
        return
    place.state = said
    failure = None
    if state is RunState.STUCK:
        kind, _, message = header.error.partition(": ")
        failure = Failure(kind, message)
    reason = header.cancel or "" if state is RunState.CANCELLED else ""
    yield Told(Telling.STATE, header.changed, state=said, failure=failure, reason=reason)


# --- the history -------------------------------------------------------------------------------


async def _history(
    store: Reads, header: Header, place: Place, limit: int
) -> tuple[list[_Step], bool]:
    """What the entries from here on tell, and whether there are more."""
    place = msgspec.structs.replace(place)
    steps: list[_Step] = []
    order, count = (0, _ASKED), 0
    while place.index < header.count:
        links, before = await store.streams.entries(header, place.base), place.base
        if links is None and before:  # no place of this history: count from its beginning
            place.base, place.behind = "", place.index
            continue
        for entry in _behind(place, links or []):
            told = [each async for each in _told(store, header.run, entry, place)]
            count += len(told)
            order = max(order, (place.clock, _rank(entry)))
            steps.append(_Step(order, told, msgspec.structs.replace(place)))
            if count >= limit or len(steps) >= _STEPS:
                return steps, place.index < header.count
        if place.base == before and place.index < header.count:
            told_it = f"run {header.run!r}: nothing is behind the place of a reader"
            raise CheckpointUnreadable(told_it)
    return steps, False


def _behind(place: Place, links: Sequence[Link]) -> Iterator[Entry]:
    """The entries behind a place, which moves with them."""
    for link in links:
        for entry in link.entries[place.behind :]:
            place.passes(entry)
            yield entry
        if link.name:
            place.base, place.behind = link.name, max(0, place.behind - len(link.entries))


def _rank(entry: Entry) -> int:
    return _ENDS if isinstance(entry, Completed | Stepped | Fired | Finished) else _ASKED


async def _told(store: Reads, run: str, entry: Entry, place: Place) -> Any:
    """What an entry tells, at the place behind it."""
    if is_item(entry):
        if place.new_items(1):
            [whole] = await store.streams.whole(run, [entry])
            yield _item(whole, place)
        return
    match entry:
        case Logged(lines=lines):
            for line in lines[len(lines) - place.new_lines(len(lines)) :]:
                yield Told(Telling.LOG, line.at, line=line)
        case Completed(key=key):
            item = await store.streams.operation(run, key)
            outcome = None if item is None else item.outcome
            if item is not None and outcome is not None:
                yield _ended(place, key, item.kind, outcome, item.name)
        case _:
            for each in _plainly(entry, place):
                if each.what is Telling.STATE:
                    place.state = each.state
                yield each


def _item(entry: Entry, place: Place) -> Told:
    if isinstance(entry, Emitted):
        return Told(Telling.ITEM, entry.at, entry.key, entry.round + 1, value=entry.value)
    assert isinstance(entry, Scheduled)
    return Told(Telling.ITEM, place.clock, entry.key, entry.round + 1, value=entry.args)


def _plainly(entry: Entry, place: Place) -> Iterator[Told]:
    """What an entry tells of which nothing else need be read."""
    state, at = RunState.RUNNING.value, place.clock
    match entry:
        case Started():
            yield Told(Telling.STATE, at, state=state, attempt=entry.round + 1)
        case Retried():
            yield Told(
                Telling.STATE, at, state=state, attempt=entry.round + 1, failure=entry.failure
            )
        case CancelRequested():
            yield Told(Telling.STATE, at, state=CANCELLING, reason=entry.reason)
        case Finished(outcome=outcome):
            ended = END_OF[outcome.kind].said
            yield Told(Telling.STATE, at, state=ended, failure=outcome.failure)
        case Scheduled(key=key, kind=kind, name=name):
            yield Told(Telling.OPERATION, at, key, kind=kind, name=name, state="started")
        case Stepped(key=key, outcome=outcome, retry_at=None):
            yield _ended(place, key, Kind.STEP, outcome)
        case Stepped(key=key, outcome=outcome):
            failure = outcome.failure
            yield Told(
                Telling.OPERATION, at, key, kind=Kind.STEP, state="retrying", failure=failure
            )
        case Fired(key=key):
            yield _ended(place, key, Kind.TIMER, Outcome(OutcomeKind.OK))
        case Withdrawn(key=key, kind=kind):
            yield Told(Telling.OPERATION, at, key, kind=kind, state="withdrawn")


def _ended(place: Place, key: str, kind: Kind, outcome: Outcome, name: str = "") -> Told:
    state, at = _ENDED[outcome.kind], place.clock
    return Told(
        Telling.OPERATION, at, key, kind=kind, name=name, state=state, failure=outcome.failure
    )


# --- the batches -------------------------------------------------------------------------------


async def _batches(store: Reads, run: str, number: int) -> tuple[list[_Step], bool]:
    """What the batches from here on tell, and whether there may be more."""
    found = await store.streams.batches(run, number)
    steps: list[_Step] = []
    order = (0, _SAID)
    for batch in found:
        number += 1
        told = [each for part in batch.parts for each in await _said(store, run, part)]
        order = max(order, (min((each.at for each in told), default=0), _SAID))
        steps.append(_Step(order, told, number))
    return steps, len(found) == BATCHES_AT_ONCE


async def _said(store: Reads, run: str, part: StreamPart) -> list[Told]:
    """What one attempt has said, in the order of time."""
    key, attempt = part.key, part.attempt
    told = [
        Told(Telling.ITEM, each.at, key, attempt, value=Value(each.codec, each.body))
        for each in part.items
    ]
    if part.log is not None:
        lines = await store.streams.lines(run, key, attempt, part.log)
        told += [Told(Telling.LOG, line.at, key, attempt, line=line) for line in lines]
    return sorted(told, key=lambda each: each.at)

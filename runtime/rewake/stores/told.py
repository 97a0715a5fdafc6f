"""What a run's stream tells, and a page of it: both sequences in one order.

A page merges the history and the batches by their moments, and each keeps its own order. It goes
only as far as both are known: while one of them has more than was read, nothing of the other that
is later is told. So who reads all of a stream gets it in the order of time. Who follows it gets
what an attempt said when that is written, which may be a second late.

The header is read before the batches, and what an attempt said is written before its outcome. So
who is told that a run has ended has got all that its attempts said.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from enum import StrEnum
from itertools import accumulate
from operator import itemgetter
from typing import NamedTuple

import msgspec

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
    Millis,
    Outcome,
    Retried,
    Scheduled,
    Signalled,
    Started,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.states import END_OF, OPEN, TERMINAL, RunState
from rewake.stores.places import Place, in_cut_history, is_item, no_cursor
from rewake.stores.reads import Reads
from rewake.stores.streams import MOST_AT_ONCE, Link
from rewake.streamed import LogLine, StreamBatch

CANCELLING = "cancelling"
"""The state of a run that was asked to cancel, as its stream tells it."""
_ENDED = {
    OutcomeKind.OK: "done",
    OutcomeKind.ERROR: "failed",
    OutcomeKind.TIMEOUT: "timed_out",
    OutcomeKind.CANCELLED: "cancelled",
}
MOST = 500
"""So many things are told in one page, at the most."""
ROOM = 1024 * 1024
"""About so many bytes of items and lines are."""


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
    """What was told between two places: each thing with the place behind it.

    `ended`: the run has ended, and this was all. `more`: there is more than that.
    """

    told: list[tuple[Told, Place]]
    place: Place
    more: bool
    ended: bool


class _Move(NamedTuple):
    """One thing, or nothing, that an entry or a batch tells, and where a reader is behind it.

    `order`: its place in the merge, by moment and then by rank. `batch`: the number of the next
    batch, and how much of that was told.
    """

    order: tuple[Millis, int]
    told: Told | None
    place: Place | None = None
    batch: tuple[int, int] = (0, 0)


_ASKED, _SAID, _ENDS = range(3)
"""Of one moment: what is asked for comes before what is said, and that before what ends."""


async def read_page(store: Reads, run: str, place: Place, limit: int) -> Page:
    """Read on from a place: at most `limit` things. Raises `RunNotFound`, `InvalidInput`."""
    header = await store.header(run)
    if place.round != header.round:
        place = in_cut_history(place, header.round, (await store.entries(header)).entries)
    history, more_history = await _history(store, header, place, limit)
    if place.batch < header.lap.gone:
        place = msgspec.structs.replace(place, batch=header.lap.gone, batch_begun=0)
    batches, more_batches = await _batches(store, run, place, limit)
    told: list[tuple[Told, Place]] = []
    left, room = [history, batches], ROOM
    while len(told) < limit and room > 0 and any(left):
        if (more_history and not history) or (more_batches and not batches):
            break
        first = min((each for each in left if each), key=lambda each: each[0].order)
        move = first.popleft()
        place = _moved(place, move)
        if move.told is not None:
            told.append((move.told, place))
            room -= _size_of(move.told)
    more = bool(more_history or more_batches or history or batches)
    last = None if more else _by_header(header, place.state)
    if last is not None and len(told) < limit:
        place = msgspec.structs.replace(place, state=last.state)
        told.append((last, place))
    elif last is not None:
        more = True
    return Page(told, place, more, header.state in TERMINAL and not more)


def _moved(place: Place, move: _Move) -> Place:
    batch, begun = move.batch
    if move.place is None:
        return msgspec.structs.replace(place, batch=batch, batch_begun=begun)
    return msgspec.structs.replace(move.place, batch=place.batch, batch_begun=place.batch_begun)


def _size_of(told: Told) -> int:
    if told.value is not None:
        return len(bytes(told.value.body))
    return len(told.line.message) if told.line is not None else 0


def _by_header(header: Header, before: str) -> Told | None:
    """A state that no entry tells of: stuck, resumed, or ended from outside."""
    state = header.state
    said = RunState.RUNNING.value if state in OPEN else state.said
    if said == before or (state in OPEN and before != RunState.STUCK):
        return None
    failure = None
    if state is RunState.STUCK:
        kind, _, message = header.error.partition(": ")
        failure = Failure(kind, message)
    reason = header.cancel or "" if state is RunState.CANCELLED else ""
    return Told(Telling.STATE, header.changed, state=said, failure=failure, reason=reason)


# --- the history -------------------------------------------------------------------------------


async def _history(
    store: Reads, header: Header, place: Place, limit: int
) -> tuple[deque[_Move], bool]:
    """What the entries from here on tell, and whether there are more."""
    before, begun = place, place.begun
    place, moves = msgspec.structs.replace(place), deque[_Move]()
    order, room, at_once = (0, _ASKED), ROOM, 1
    while place.index < header.count:
        links, base = await store.streams.entries(header, place.base, at_once), place.base
        at_once = min(2 * at_once, MOST_AT_ONCE)
        if links is None and base:  # no place of this history: count from its beginning
            place.base, place.behind = "", place.index
            continue
        for entry in _behind(place, links or []):
            told = [each async for each in _told(store, header.run, entry, place)]
            order = max(order, (place.clock, _rank(entry)))
            behind = msgspec.structs.replace(place)
            for number, each in list(enumerate(told, 1))[begun:]:
                there = msgspec.structs.replace(before, begun=number)
                moves.append(_Move(order, each, there if number < len(told) else behind))
                room -= _size_of(each)
            if not told:
                moves.append(_Move(order, None, behind))
            before, begun = behind, 0
            if len(moves) >= min(limit, MOST) or room <= 0:
                return moves, place.index < header.count
        if place.base == base and place.index < header.count:
            raise no_cursor()
    return moves, False


def _behind(place: Place, links: Sequence[Link]) -> Iterator[Entry]:
    """The entries behind a place, which moves with them."""
    for link in links:
        for entry in link.entries[place.behind :]:
            place.passes(entry)
            yield entry
        if link.name:
            place.base, place.behind = link.name, max(0, place.behind - len(link.entries))


_ENDING = Completed | Stepped | Fired | Signalled | Finished


def _rank(entry: Entry) -> int:
    return _ENDS if isinstance(entry, _ENDING) else _ASKED


async def _told(store: Reads, run: str, entry: Entry, place: Place) -> AsyncIterator[Told]:
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
        case Scheduled(key=key, kind=kind, name=name) if not kind.traits.at_once:
            yield Told(Telling.OPERATION, at, key, kind=kind, name=name, state="started")
        case Stepped(key=key, outcome=outcome, retry_at=None, kind=kind):
            yield _ended(place, key, kind, outcome)
        case Stepped(key=key, outcome=outcome):
            failure = outcome.failure
            yield Told(
                Telling.OPERATION, at, key, kind=Kind.STEP, state="retrying", failure=failure
            )
        case Fired() | Signalled() if not entry.kind.traits.inline:
            yield _ended(place, entry.key, entry.kind, entry.outcome)
        case Withdrawn(key=key, kind=kind):
            yield Told(Telling.OPERATION, at, key, kind=kind, state="withdrawn")


def _ended(place: Place, key: str, kind: Kind, outcome: Outcome, name: str = "") -> Told:
    state, at = _ENDED[outcome.kind], place.clock
    return Told(
        Telling.OPERATION, at, key, kind=kind, name=name, state=state, failure=outcome.failure
    )


# --- the batches -------------------------------------------------------------------------------


async def _batches(store: Reads, run: str, place: Place, limit: int) -> tuple[deque[_Move], bool]:
    """What the batches from here on tell, and whether there may be more."""
    moves, order, room = deque[_Move](), (0, _SAID), ROOM
    at, begun, at_once, more = place.batch, place.batch_begun, 1, True
    while more and len(moves) < min(limit, MOST) and room > 0:
        found = await store.streams.batches(run, at, at_once)
        more, at_once = len(found) == at_once, min(2 * at_once, MOST_AT_ONCE)
        for batch in found:
            told = await _said(store, batch)
            for number, each in list(enumerate(told, 1))[begun:]:
                order = max(order, (each.at, _SAID))
                there = (at, number) if number < len(told) else (at + 1, 0)
                moves.append(_Move(order, each, batch=there))
                room -= _size_of(each)
            if not told:
                moves.append(_Move(order, None, batch=(at + 1, 0)))
            at, begun = at + 1, 0
    return moves, more


async def _said(store: Reads, batch: StreamBatch) -> list[Told]:
    """What a batch has, in the order of time; what each attempt emitted and logged in its own."""
    said: dict[tuple[Telling, str, int], list[Told]] = {}
    for part in batch.parts:
        key, attempt = part.key, part.attempt
        items = said.setdefault((Telling.ITEM, key, attempt), [])
        for each in part.items:
            value = Value(each.codec, each.body)
            items.append(Told(Telling.ITEM, each.at, key, attempt, value=value))
        if part.log is not None:
            lines = said.setdefault((Telling.LOG, key, attempt), [])
            for line in await store.streams.lines(batch.run, key, attempt, part.log):
                lines.append(Told(Telling.LOG, line.at, key, attempt, line=line))
    return [told for _, told in heapq.merge(*map(_timed, said.values()), key=itemgetter(0))]


def _timed(told: Sequence[Told]) -> Iterator[tuple[Millis, Told]]:
    """What was said one after another, with moments that never go back, as a clock may."""
    return zip(accumulate((each.at for each in told), max), told, strict=True)

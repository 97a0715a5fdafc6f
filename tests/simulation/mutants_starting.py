"""Mutants of starts: who is let through, who joins whom, who gives way; and of states of tasks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.engine.limits import limits
from rewake.engine.outside import events
from rewake.engine.outside.keyed import States
from rewake.engine.outside.watches import Watches
from rewake.engine.starts.door import Door
from rewake.engine.starts.gathering import Gathering
from rewake.engine.turns import commits
from rewake.keyed import Entrant
from rewake.ledger import Gathered, Limit
from rewake.limited import Limited, LimitKind, Terms, in_order
from rewake.records import Header, Millis, Started
from rewake.stores import books
from rewake.stores.limits import Limits
from tests.simulation.mutants import Mutant


@contextmanager
def takes_nobodys_place() -> Iterator[None]:
    """A newer run of a singleton waits until the older one ends by itself."""

    async def nothing(*_: Any) -> None: ...

    with patch.object(commits, "take_over", nothing):
        yield


@contextmanager
def begins_beside_its_singleton() -> Iterator[None]:
    """Who has no place of a singleton begins all the same."""

    def held(terms: Terms) -> list[Limited]:
        return list(in_order(terms.limits, LimitKind.CONCURRENCY))

    with patch.object(limits, "_held", held):
        yield


@contextmanager
def keeps_what_came_first() -> Iterator[None]:
    """A debounce begins with the arguments of the first start."""
    gather = Limits.gather

    async def stubborn(self: Limits, seen: Header, started: Started, **how: Any) -> Header | None:
        first: Any = await self.last(seen)
        return await gather(self, seen, msgspec.structs.replace(started, args=first.args), **how)

    with patch.object(Limits, "gather", stubborn):
        yield


@contextmanager
def begins_when_it_was_to() -> Iterator[None]:
    """What joins a debounce does not put it off."""
    gather = Limits.gather

    async def hasty(self: Limits, seen: Header, started: Started, **how: Any) -> Header | None:
        how["wake"] = seen.wake
        return await gather(self, seen, started, **how)

    with patch.object(Limits, "gather", hasty):
        yield


@contextmanager
def forgets_what_the_batch_had() -> Iterator[None]:
    """A batch begins with the items of its last start."""

    def forgetful(
        self: Gathering, pending: Header, first: Started, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        return dict(arguments), False

    with patch.object(Gathering, "_with", forgetful):
        yield


@contextmanager
def joins_as_often_as_it_is_sent() -> Iterator[None]:
    """It is not kept for which run a start is."""

    async def take_start(
        self: Limits, start: str, run: str, until: Millis, past: Gathered | None
    ) -> Gathered:
        return Gathered(run, until)

    async def gathered(self: Limits, start: str) -> None: ...

    with patch.object(Limits, "take_start", take_start), patch.object(Limits, "gathered", gathered):
        yield


@contextmanager
def refuses_nobody() -> Iterator[None]:
    """However many come, a throttle lets them through."""

    async def lenient(self: Door, *_: Any) -> None: ...

    with patch.object(Door, "_mind", lenient):
        yield


@contextmanager
def forgets_who_was_let_through() -> Iterator[None]:
    """Who died behind a throttle is somebody else when it comes again."""
    mind = Door._mind

    async def forgetful(self: Door, throttle: Limited, who: str) -> None:
        await mind(self, throttle, "")

    with patch.object(Door, "_mind", forgetful):
        yield


@contextmanager
def takes_the_turn_of_who_is_refused() -> Iterator[None]:
    """Who is refused has reserved the next moment, as who waits for it does."""
    reserved = books.reserved

    def greedy(book: Limit, limit: Limited, now: Millis, *, wait: bool, **how: Any) -> Any:
        return reserved(book, limit, now, wait=wait or limit.kind == LimitKind.THROTTLE, **how)

    with patch.object(books, "reserved", greedy):
        yield


@contextmanager
def lets_nobody_through_at_once() -> Iterator[None]:
    """A throttle that lets so many in at a time lets them in one after the other."""
    reserve = Limits.reserve

    async def even(self: Limits, limit: Limited, *args: Any, **how: Any) -> tuple[bool, Millis]:
        return await reserve(self, msgspec.structs.replace(limit, burst=1), *args, **how)

    with patch.object(Limits, "reserve", even):
        yield


@contextmanager
def starts_runs_by_each_look_at_an_event() -> Iterator[None]:
    """The run that an event starts has no key, so whoever goes on with the event starts another."""
    numbers = itertools.count()

    with patch.object(events, "started_by", lambda name, _: f"{name}/{next(numbers)}"):
        yield


@contextmanager
def cancels_nothing_by_events() -> Iterator[None]:
    """Events find the runs that they cancel, and leave them alone."""

    async def mild(self: Watches, *_: Any) -> None: ...

    with patch.object(Watches, "call_off", mild):
        yield


@contextmanager
def writes_on_any_version() -> Iterator[None]:
    """A state is written from outside whatever it has become since it was read."""
    write = States.write

    async def careless(
        self: States, name: str, key: str, value: Any, version: int | None, tenant: str = ""
    ) -> Any:
        return await write(self, name, key, value, None, tenant)

    with patch.object(States, "write", careless):
        yield


@contextmanager
def an_attempt_waits_for_the_one_before() -> Iterator[None]:
    """A later attempt at a task does not take the place that the one before has in a state."""

    def is_of(self: Entrant, other: Entrant) -> bool:
        mine = (self.run, self.token, self.number)
        return mine == (other.run, other.token, other.number)

    with patch.object(Entrant, "is_of", is_of):
        yield


STARTING: Sequence[Mutant] = (
    takes_nobodys_place,
    begins_beside_its_singleton,
    keeps_what_came_first,
    begins_when_it_was_to,
    forgets_what_the_batch_had,
    joins_as_often_as_it_is_sent,
    refuses_nobody,
    forgets_who_was_let_through,
    takes_the_turn_of_who_is_refused,
    lets_nobody_through_at_once,
    starts_runs_by_each_look_at_an_event,
    cancels_nothing_by_events,
    writes_on_any_version,
    an_attempt_waits_for_the_one_before,
)

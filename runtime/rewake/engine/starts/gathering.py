"""Starts that are gathered: a debounce begins with what came last, a batch with all that came.

The first start makes the run, which is delayed; its limit's item names it. Each further one changes
what that run will begin with, by one conditional write of its header: only while nobody has had it,
and if it is as it was read. So what was answered is in the run, or in the next one, whoever dies.

The limit's item names the run *before* it is made, so that two starts cannot make one each. If
whoever names it dies before it is made, the next start names its own.

A start that may be sent again, by its id or key, is in one run only. For which one is kept for a
day in an item of its own, by a conditional write *before* it joins that one or its own run is made:
so two of them at once, or one that comes late, are for the same. Its own run it is for ever; for
another one as long as that gathers, or has it. That it is in there is added once the header is
written; of a death between the two tells the header, by the newest starts that have joined.

In a deploy that gives the list of a batch another name, servers of both versions take starts: what
one of them takes is for a run of its own version.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec

from rewake.authoring.limits import Rule
from rewake.engine.services import Services
from rewake.engine.starts.delays import arm
from rewake.errors import CheckpointUnreadable
from rewake.kinds import Purpose
from rewake.ledger import Gathered, Limit
from rewake.limited import Admission, Limited, LimitKind, Terms
from rewake.records import Header, Millis, Started
from rewake.states import RunState
from rewake.values.run_codec import RunCodec, digests_of

ENOUGH = 32 * 1024
"""A batch of so many bytes begins: the list is written anew with each start."""
REMEMBERED = 32
"""So many of the newest starts that have joined a run are in its header."""
KEPT: Millis = 86_400_000
"""So long a start is known again that has joined a run."""
_PAUSE: Millis = 20


class _Unlike(Exception):
    """The list of the batch that gathers has another name: other code takes it."""


class Gathering:
    """Gathers starts of one key, by one rule. `hidden`: the secret parts of their arguments.

    `named`: a start may be sent again, under the same id.
    """

    def __init__(
        self,
        services: Services,
        rule: Rule,
        limit: Limited,
        hidden: tuple[str, ...],
        *,
        named: bool,
    ) -> None:
        self._services, self._store = services, services.store
        self._rule, self._limit, self._hidden, self._named = rule, limit, hidden, named
        self._past: Gathered | None = None

    async def known(self, start: str) -> Header | None:
        """The run that a start has joined before; None: none that is known."""
        if not self._named:
            return None
        self._past, kept = None, await self._store.gathered(start)
        found = None if kept is None or kept.run == start else await self._store.find(kept.run)
        if kept is None or found is None or not (kept.sure or _has(found, start)):
            return None
        self._past = kept  # whoever wants it anew takes it out of there
        return None if found.state is RunState.REMOVED else found

    async def join(self, run: str, arguments: Mapping[str, Any]) -> Header | Millis:
        """Join the run that gathers, and return it; or name this one, which is to begin then."""
        services, wait = self._services, self._rule.per
        while True:
            now = services.clock.now()
            async with self._store.in_turn(self._limit.id):  # else they would only meet
                book = await self._store.limit(self._limit.id)
                pending = None if book is None or not book.run else await self._store.find(book.run)
                if pending is not None and pending.run == run:
                    return pending
                gathers = pending is not None and _gathers(pending, now)
                joined = None
                if pending is not None and gathers:
                    try:
                        joined = await self._put(pending, run, arguments, now)
                    except _Unlike:
                        gathers = False
            if joined is not None:
                return joined
            if gathers:
                continue
            if book is not None and pending is None and self._is_new(book, run, now):
                await services.clock.sleep(_PAUSE)  # it is about to be made
                continue
            alone = self._is_enough(sum(map(len, arguments.values())) if self._is_batch else 0)
            until = now + max(self._rule.longest, wait)
            if alone or await self._store.name_gatherer(self._limit, book, run, until):
                with suppress(_Unlike):  # it is known now not to be for that one
                    joined = await self._put(None, run, arguments, now)
            if joined is not None:
                return now if alone and not isinstance(joined, Header) else joined

    async def _put(
        self, into: Header | None, start: str, arguments: Mapping[str, Any], now: Millis
    ) -> Header | Millis | None:
        """Put a start into this run, or the one that it is for already, and return that.

        If it is for its own (`into` is None, or it was before): when that is to begin. None: the
        run has changed, or begun, meanwhile. Raises `_Unlike`.
        """
        if not self._named:
            own = now + self._rule.per
            return own if into is None else await self._add(into, start, arguments, now)
        stands = await self._taken(start, start if into is None else into.run, now)
        if stands.run == start:
            return now + self._rule.per
        if into is None or into.run != stands.run:
            into = await self._store.find(stands.run)
        if into is None or stands.sure:
            return into
        try:
            found = await self._add(into, start, arguments, now)
        except _Unlike:
            self._past = stands
            raise
        if found is not None:
            await self._store.keep_gathered(start, found.run, now + KEPT)
        return found

    async def _taken(self, start: str, run: str, now: Millis) -> Gathered:
        """Which run a start is for: this one, unless it is for another that has it, or may yet."""
        while True:
            stands = await self._store.take_start(start, run, now + KEPT, self._past)
            if stands.run in (start, run):
                self._past = None
                return stands
            found = await self._store.find(stands.run)
            # Also one that is due: who has found it gathering may join it until it has begun.
            waits = found is not None and found.state is RunState.DELAYED
            if found is not None and (waits or self._is_in(stands, found, start)):
                return stands
            self._past = stands

    def _is_in(self, kept: Gathered, found: Header, start: str) -> bool:
        return found.state is not RunState.REMOVED and (kept.sure or _has(found, start))

    @property
    def _is_batch(self) -> bool:
        return self._rule.kind is LimitKind.BATCH

    def _is_enough(self, number: int, size: int = 0) -> bool:
        return self._is_batch and (number >= self._rule.count or size >= ENOUGH)

    def _is_new(self, book: Limit, run: str, now: Millis) -> bool:
        """Whether another start has named a run a moment ago, which is not there yet."""
        there = book.run not in ("", run)
        return there and now < book.written + self._services.settings.grace

    async def _add(
        self, pending: Header, start: str, arguments: Mapping[str, Any], now: Millis
    ) -> Header | None:
        """Change what a run will begin with; None if it has changed, or begun, meanwhile.

        Raises `_Unlike`.
        """
        whole, admission, full = dict(arguments), pending.admission or Admission(Terms()), False
        wake = min(now + self._rule.per, pending.created + self._rule.longest)
        if _has(pending, start):  # also where it was written, and told otherwise
            return pending
        joined = (*admission.joined, _mark(start))[-REMEMBERED:]
        admission = msgspec.structs.replace(admission, joined=joined)
        first = await self._first(pending)
        if first is None:
            return None
        if self._is_batch:
            whole, full = self._with(pending, first, whole)
            wake = now if full else pending.wake or now
        codec = RunCodec(self._services.secret, pending.run)
        value = codec.encode(whole, key="", purpose=Purpose.INPUT, hidden=self._hidden)
        started = msgspec.structs.replace(first, clock=wake, args=value)
        digest = digests_of(self._services.secret, pending).digest(whole)
        found = await self._store.gather(
            pending, started, wake=wake, digest=digest, admission=admission
        )
        if found is not None and full:
            await self._services.wake(found.run)
        elif found is not None:
            await arm(self._services, found.run, wake)
        return found

    async def _first(self, pending: Header) -> Started | None:
        """What it begins with so far; None: that has changed since, or it has begun."""
        try:
            first = await self._store.last(pending)
        except CheckpointUnreadable:
            found = await self._store.find(pending.run)
            if found is not None and found.mark == pending.mark:
                raise
            return None
        return first if isinstance(first, Started) else None

    def _with(
        self, pending: Header, first: Started, arguments: Mapping[str, Any]
    ) -> tuple[dict[str, Any], bool]:
        """The list of a batch with these items too, and whether that is enough."""
        kept, codec = first.args, RunCodec(self._services.secret, pending.run)
        so_far = codec.decode(kept, key="", purpose=Purpose.INPUT)
        if so_far.keys() != arguments.keys():
            raise _Unlike
        whole = {name: [*so_far[name], *items] for name, items in arguments.items()}
        number = sum(map(len, whole.values()))
        size = len(bytes(kept.body)) * (number + 1) // max(1, sum(map(len, so_far.values())))
        return whole, self._is_enough(number, size)


def _mark(start: str) -> str:
    return sha256(start.encode()).hexdigest()[:8]


def _has(run: Header, start: str) -> bool:
    """Whether a start is one of the newest that have joined a run."""
    return run.admission is not None and _mark(start) in run.admission.joined


def _gathers(run: Header, now: Millis) -> bool:
    """Whether what a run begins with can still be changed."""
    return run.state is RunState.DELAYED and run.wake is not None and run.wake > now

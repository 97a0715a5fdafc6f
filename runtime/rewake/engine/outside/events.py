"""Events: published, and told to all who wait for them.

`rewake.authoring.events` says which event a wait gets, `rewake.stores.events` what is stored.

An event is kept by one write, which its publisher waits for. What follows is done behind that, by
this process or by whoever finds the event due, again from the start if it was cut off:

1. It gets its *place*: the moment by which events are in order. It is mentioned at that place in
   the index of all events of its name, then in those of the fields by which such events are waited
   for (`Shape`), and then the place is written into the event. Only if that took less than `FRESH`
   does it count: a later place is tried. So what is put into an index has a place of just before.
2. All who wait in these indexes are looked at, and get what they wait for (`_Look`).
3. The runs that it starts are started, each by an idempotency key that is made of its id.
4. It is due no more, but for its removal.

A run waits by a subscription, written once its wait is committed; then it looks at what is there.
Either it finds the event, or the event finds it. Both look in the same way: for the first event in
the index that the wait may have. So it does not matter who looks, nor how often, and a wait gets
events in the order of their places, however late one is told of.

Fields that nobody looked for before are an index that older events are not in. Who waits by them
then reads, of the index of all events, those from before that.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from rewake.authoring.events import SLACK, Asked, started_by
from rewake.authoring.triggers import Event, EventTrigger
from rewake.authoring.workflow import Workflow
from rewake.engine.outside.watches import Watches
from rewake.engine.runs.runs import Runs
from rewake.engine.turns.deliveries import Deliveries
from rewake.errors import (
    EventConflict,
    InvalidInput,
    RewakeError,
    RunConflict,
    Throttled,
)
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.published import Mention, Published, Shape, Subscription
from rewake.records import LATEST, Millis, Operation, Outcome, Value
from rewake.replay.operation import OpenOp
from rewake.states import TERMINAL
from rewake.stores.ended import is_ended_due, removal_due
from rewake.stores.events import Index
from rewake.stores.keys import event_key
from rewake.stores.table import Key
from rewake.values.emitted import LARGEST, json_of
from rewake.values.failures import described
from rewake.values.matching import (
    ALL,
    checked_id,
    checked_name,
    index_of,
    indexes_of,
    mark_at,
    ref_of,
    texts_at,
    texts_of,
)
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")

FRESH: Millis = 5_000
"""How long it may take to put an event at its place."""
AHEAD: Millis = 1_000
"""How far ahead of the clock a place may be."""
AT_ONCE = 25
"""So many of those who wait are told at once."""


class Events:
    """The events of an app, by way of an engine (which need not be open)."""

    def __init__(self, engine: Runs) -> None:
        self._engine = engine
        self._services = engine.services
        self._store = engine.services.store.events
        self._deliveries = Deliveries(engine.services)
        self.watches = Watches(engine, self._noted)

    async def publish(
        self, name: str, data: Any = None, *, id: str | None = None, by: str = ""
    ) -> tuple[Published, bool]:
        """Publish an event. Returns it as it is kept, and whether it is new.

        `data` is JSON. The same `id` again changes nothing; without one, it is a new event. `by`:
        who publishes it. What follows goes on behind this, in this process if it carries runs on.

        Raises:
            InvalidInput: a name, an id or data that cannot be.
            EventConflict: there is an event of this name and id with other data.
        """
        services = self._services
        checked_name(name)
        named = checked_id(services.unique() if id is None else id)
        json_of(data, "the data of an event", LARGEST)
        value = self._codec(name).encode(data, key=named, purpose=Purpose.EVENT)
        now = services.clock.now()
        due = now + (services.settings.grace if services.carries_on() else 0)
        event = Published(name, named, value.codec, value.body, now, by, due=due, written=now)
        stands = await self._store.publish(event)
        new = (stands.at, stands.body) == (event.at, event.body)
        if not new and self._data(stands) != data:
            raise EventConflict(f"an event {named!r} of the name {name!r} has other data")
        if services.carries_on() and not is_ended_due(stands.due):
            await self._begin(stands)
        return stands, new

    async def newest(
        self, name: str, *, limit: int, cursor: str | None = None
    ) -> tuple[list[Published], str | None]:
        """A page of the events of a name, the newest first, and where the next one begins.

        One that was published a moment ago may not be in it yet. Raises `InvalidInput`.
        """
        return await self._store.newest(checked_name(name), limit=limit, cursor=cursor)

    async def _begin(self, event: Published) -> None:
        if self._services.settings.pauses:  # it is held back until it answers: else all would stop
            await self._services.work.do(event.name, self.carry_out(event))
        else:
            self._services.work.begin(event.name, self.carry_out(event))

    async def check(self, event: Published, due: Millis, now: Millis) -> None:
        """Go on with an event that is due, unless this process does so."""
        key, grace = event_key(ref_of(event.name, event.id)), self._services.settings.grace
        if ref_of(event.name, event.id) in self._services.telling:
            return
        if await self._services.store.postpone(key, due, now + grace):
            event.due = now + grace
            await self._begin(event)

    async def remove(self, key: Key, now: Millis) -> int:
        """Remove an event if its time is over. Returns how many steps that took."""
        event = await self._services.store.item(key)
        if not isinstance(event, Published) or not is_ended_due(event.due):
            return 0
        if event.at + self._services.settings.events_kept > now:  # they are kept for longer now
            await self._store.done(event, self._removal(event))
            return 1
        data = self._data(event)
        shapes = await self._store.shapes(event.name)
        indexes = with_all(event.name, self._indexes(event.name, data, shapes))
        await self._store.remove(event, indexes)
        return 1

    def _removal(self, event: Published) -> Millis:
        return removal_due(event.at + self._services.settings.events_kept)

    # --- what follows from an event ----------------------------------------------------------

    async def carry_out(self, event: Published) -> None:
        """Do all that follows from an event, as far as it was not done."""
        ref, telling = ref_of(event.name, event.id), self._services.telling
        if ref in telling:
            return
        telling.add(ref)
        try:
            data = self._data(event)
            for index in await self._placed(event, data):
                await self._tell_all(event, data, index)
            await self._start_runs(event, data)
            await self._store.done(event, self._removal(event))
        finally:
            telling.discard(ref)

    async def _placed(self, event: Published, data: Any) -> Sequence[Index]:
        """The indexes of an event, in which it is mentioned at its place."""
        tried: list[Millis] = []
        found = None if event.place is None else await self._put(event, data, event.place)
        while found is None:
            tried.append(self._next_place())
            found = await self._put(event, data, tried[-1])
        # Not before it has its place: somebody who found it at one may be about to settle that.
        for place in tried:
            if place != event.place:
                mention = Mention(ref_of(event.name, event.id), place)
                await self._store.forget(with_all(event.name, found), mention)
        return found

    def _next_place(self) -> Millis:
        """A place for now: behind the one before, as events may come within one millisecond.

        Never far ahead, however many come.
        """
        now, last = self._services.clock.now(), self._services.last_place
        place = self._services.last_place = last + 1 if now <= last < now + AHEAD else now
        return place

    async def _put(self, event: Published, data: Any, place: Millis) -> Sequence[Index] | None:
        """Put an event at this place, unless it has one. Its indexes; None if it took too long."""
        settled = event.place
        mention = Mention(ref_of(event.name, event.id), place if settled is None else settled)
        every = Index(event.name, ALL)
        await self._store.mention([every], mention)
        shapes = await self._store.shapes(event.name)
        indexes = self._indexes(event.name, data, shapes)
        await self._store.mention([each for each in indexes if each != every], mention)
        if settled is None and self._services.clock.now() - place <= FRESH:
            stands = await self._store.settle(event, place)
            event.place = place if stands is None else stands.place
        return None if event.place is None else indexes

    def _indexes(self, name: str, data: Any, shapes: Sequence[Shape]) -> list[Index]:
        """The indexes in which somebody may wait for an event with such data."""
        found: list[Index] = []
        for shape in shapes:
            texts = texts_at(data, shape.fields)
            if texts is not None:
                secret = self._services.secret
                found += [Index(name, each) for each in indexes_of(secret, name, texts)]
        return found

    async def _tell_all(self, event: Published, data: Any, index: Index) -> None:
        """Look for all who wait in an index."""
        key, store = event_key(ref_of(event.name, event.id)), self._services.store
        async for page in self._store.subscriptions(index):
            look = _Look(self, index)
            for first in range(0, len(page), AT_ONCE):
                some = page[first : first + AT_ONCE]
                await asyncio.gather(*(self._tell(event, data, index, look, each) for each in some))
            now, grace = self._services.clock.now(), self._services.settings.grace
            if event.due is not None and event.due < now + grace // 2:
                await store.postpone(key, event.due, now + grace)
                event.due = now + grace

    async def _tell(
        self, event: Published, data: Any, index: Index, look: _Look, waiting: Subscription
    ) -> None:
        if waiting.cancels:
            await self.watches.call_off(event, data, index, waiting)
        else:
            await self._look(index, look, waiting)

    async def _start_runs(self, event: Published, data: Any) -> None:
        """Start the runs that an event starts: one of each workflow, once."""
        for workflow in self._services.app.workflows.values():
            for trigger in workflow.on_event:
                if trigger.takes(event.name, data):
                    await self._start(workflow, trigger, event, data)

    async def _start(
        self, workflow: Workflow[Any, Any], trigger: EventTrigger, event: Published, data: Any
    ) -> None:
        by = started_by(event.name, event.id)
        try:
            arguments = trigger.arguments_of(
                workflow.inputs, Event(event.name, event.id, data, event.at)
            )
            if arguments is not None:
                await self._engine.start(
                    workflow.name,
                    arguments,
                    idempotency_key=by,
                    strict=False,
                    compare=False,
                    by=by,
                )
        except (InvalidInput, RunConflict, Throttled) as refused:
            told = "the event %s %s starts no run of %s: %s"
            log.error(told, event.name, event.id, workflow.name, refused)
        except RewakeError:  # it stays due, and is tried again
            raise
        except Exception as error:  # of the app's own function
            told = "the event %s %s starts no run of %s: arguments= raised %s"
            log.error(told, event.name, event.id, workflow.name, described(error), exc_info=error)

    # --- waiting -----------------------------------------------------------------------------

    async def subscribe(self, run: str, op: OpenOp, asked: Asked) -> None:
        """Let events find a wait that is committed, and let it find what is there."""
        texts = texts_of(asked.where)
        until = await self._noted(op.name, list(texts)) + SLACK
        scans = until if texts and asked.since < until else 0
        waiting = Subscription(
            run,
            op.key,
            op.round,
            asked.since,
            asked.had,
            scans,
            msgspec.json.encode(texts).decode() if scans else "",
            op.due,
        )
        index = Index(op.name, index_of(self._services.secret, op.name, texts))
        await self._store.subscribe(index, waiting)
        await self._look(index, _Look(self, index), waiting)

    async def _noted(self, name: str, fields: Sequence[str]) -> Millis:
        """Since when it is noted that events are waited for by these fields; by none: by all."""
        known = self._services.shapes
        if (name, *fields) not in known:
            noted = await self._store.note_shape(name, fields, self._services.clock)
            known[name, *fields] = noted.since
        return known[name, *fields]

    async def unsubscribe(self, name: str, asked: Asked, waiting: Subscription) -> None:
        """Let events find a wait no more, which has ended."""
        digests = indexes_of(self._services.secret, name, texts_of(asked.where))
        await self._store.unsubscribe([Index(name, each) for each in digests], [waiting])

    async def _look(self, index: Index, look: _Look, waiting: Subscription) -> None:
        """Give a wait the first event that it may have, if there is one."""
        found = await look.first(waiting, self._services.clock.now())
        if found is None or _is_late(waiting, found):
            return
        header = await self._services.store.find(waiting.run)
        over = header is None or header.state in TERMINAL
        if over or not await self._give(index, waiting, found):
            await self._store.unsubscribe([index], [waiting])

    async def _give(self, index: Index, waiting: Subscription, found: Found) -> bool:
        """Give an event to a wait. Whether it had none before."""
        key, event = waiting.key, found.event
        told = {"id": event.id, "place": event.place, "data": found.data}
        codec = RunCodec(self._services.secret, waiting.run)
        value = codec.encode(told, key=key, purpose=Purpose.EVENT)
        blank = Operation(waiting.run, key, Kind.EVENT, index.name, waiting.round)
        # Published in time, it counts, also if a wait is so short that its time is over by now.
        at = min(self._services.clock.now(), waiting.until or LATEST)
        outcome = Outcome(OutcomeKind.OK, value)
        return (await self._deliveries.end_wait(blank, outcome, at, carry_on=True)).won

    # --- what is stored ----------------------------------------------------------------------

    async def found(self, index: Index, mention: Mention) -> Found | None:
        """The event that is mentioned, if it counts at this place."""
        event = await self._store.get(mention.ref)
        if event is None:
            await self._store.forget([index], mention)
            return None
        data = self._data(event)
        if event.place is None and self._services.clock.now() - mention.place <= FRESH:
            await self._put(event, data, mention.place)
        return Found(event, data) if event.place == mention.place else None

    def mentions(
        self, index: Index, since: Millis, until: Millis | None = None
    ) -> AsyncIterator[Mention]:
        """The mentions in an index from there on, of what is still kept."""
        kept = self._services.clock.now() - self._services.settings.events_kept
        return self._store.mentions(index, max(since, kept), until)

    def _data(self, event: Published) -> Any:
        value = Value(event.codec, event.body)
        return self._codec(event.name).decode(value, key=event.id, purpose=Purpose.EVENT)

    def _codec(self, name: str) -> RunCodec:
        secret = self._services.secret
        return RunCodec(secret, f"event {name}", sealed=secret.codec is not None)


class Found(NamedTuple):
    """An event with its data."""

    event: Published
    data: Any


@dataclass(slots=True)
class _Seen:
    """What is mentioned in an index; the event once somebody may have it."""

    mention: Mention
    found: Found | None = None
    is_read: bool = False


class _Look:
    """A look at one index, for many that wait in it: what was read once is not read again.

    What a wait has had is not read for it: in a loop that would be all events of some seconds.
    """

    def __init__(self, events: Events, index: Index) -> None:
        self._events = events
        self._index = index
        self._seen: list[_Seen] = []
        self._rest: AsyncIterator[Mention] | None = None
        self._since: Millis | None = None
        self._lock = asyncio.Lock()

    async def first(self, waiting: Subscription, now: Millis) -> Found | None:
        """The first event that a wait may have."""
        # What is later than any event can be was said by a clock that was set back since.
        since = waiting.since if waiting.since <= now + SLACK else now - SLACK
        had = frozenset(waiting.had)
        async with self._lock:
            scanned = await self._scanned(waiting, since, had) if waiting.scans else None
            if self._since is None or since < self._since:
                self._since, self._seen = since, []
                self._rest = self._events.mentions(self._index, since)
            found = await self._next(since, had)
        both = [each for each in (scanned, found) if each is not None]
        return min(both, key=_order, default=None)

    async def _next(self, since: Millis, had: Collection[str]) -> Found | None:
        for each in self._seen:
            if _may_be(each.mention, since, had) and (found := await self._of(each)) is not None:
                return found
        assert self._rest is not None
        async for mention in self._rest:
            self._seen.append(seen := _Seen(mention))
            if _may_be(mention, since, had) and (found := await self._of(seen)) is not None:
                return found
        return None

    async def _of(self, seen: _Seen) -> Found | None:
        """The event that is mentioned, if it counts there."""
        if not seen.is_read:
            seen.found = await self._events.found(self._index, seen.mention)
            seen.is_read = True
        return seen.found

    async def _scanned(
        self, waiting: Subscription, since: Millis, had: Collection[str]
    ) -> Found | None:
        """The first among all events of the name, of those that may not be in the index."""
        every = Index(self._index.name, ALL)
        wanted = msgspec.json.decode(waiting.fields, type=dict[str, str])
        async for mention in self._events.mentions(every, since, waiting.scans):
            if not _may_be(mention, since, had):
                continue
            found = await self._events.found(every, mention)
            if found is not None and texts_at(found.data, list(wanted)) == wanted:
                return found
        return None


def with_all(name: str, indexes: Sequence[Index]) -> list[Index]:
    """These indexes, and that of all events of their name."""
    return list(dict.fromkeys([Index(name, ALL), *indexes]))


def _order(found: Found) -> tuple[Millis, str]:
    return found.event.place or 0, ref_of(found.event.name, found.event.id)


def _may_be(mention: Mention, since: Millis, had: Collection[str]) -> bool:
    """Whether a wait from there on, which has had these, may have what is mentioned."""
    return mention.place >= since and mark_at(mention.ref) not in had


def _is_late(waiting: Subscription, found: Found) -> bool:
    return waiting.until is not None and (found.event.place or 0) > waiting.until

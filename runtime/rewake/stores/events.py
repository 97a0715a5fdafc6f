"""Events in the store, and the indexes by which they and those who wait find each other.

An event is one item, which decides: it is there from the write that its publisher waits for, and
due until all that follows from it is done. Everything else only helps to find it.

An *index* has the events of a name that have the same values at the same fields, as mentions in the
order of their places, and beside them the subscriptions of those who wait for such events. Which
fields these are is noted for each name (`Shape`); the index of all events of a name is always kept.
Whoever waits writes down his subscription, then reads the mentions; what is published is mentioned,
and then the subscriptions are read. So one of them finds the other.

Nothing here is written twice in two ways: a mention and a subscription never change, and an event's
place is set once. So all of it may be repeated, by anybody.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import NamedTuple

from rewake.clock import Clock
from rewake.published import Mention, Published, Shape, Subscription
from rewake.records import LATEST, Millis
from rewake.stores.blobs import Again
from rewake.stores.keys import (
    MENTIONS,
    SHAPES,
    SUBSCRIPTIONS,
    event_key,
    index_partition,
    mention_key,
    mentions_from,
    shape_key,
    shapes_partition,
    subscription_key,
)
from rewake.stores.layout import Layout
from rewake.stores.merging import merged
from rewake.stores.table import Check, Key, Table
from rewake.values.matching import ALL, ref_of

PAGE = 100
"""So many mentions, or subscriptions, are read at once."""
_DIGITS = 32


class Index(NamedTuple):
    """One index of the events of a name (`rewake.values.matching.index_of`)."""

    name: str
    digest: str


class Events:
    """The events of one table."""

    def __init__(self, table: Table, layout: Layout, again: Again) -> None:
        self._table = table
        self._layout = layout
        self._again = again

    # --- one event ---------------------------------------------------------------------------

    async def publish(self, event: Published) -> Published:
        """Put an event, unless there is one of its name and id. Returns the one that stands."""
        where = event_key(ref_of(event.name, event.id))
        written = await self._again(lambda: self._table.put(where, event, absent=True))
        stands: Published = written.item or event
        return stands

    async def get(self, ref: str) -> Published | None:
        """The event of this ref; None if there is none, or none any more."""
        found: Published | None = await self._table.get(event_key(ref))
        return found

    async def newest(
        self, name: str, *, limit: int, cursor: str | None
    ) -> tuple[list[Published], str | None]:
        """A page of the events of a name that have their place, the newest first."""
        partitions = self._layout.index(index_partition(name, ALL))
        page = await merged(
            self._table, partitions, MENTIONS, limit=limit, cursor=cursor, reverse=True
        )
        places = {mention.ref: mention.place for _, mention in page.items}
        found = await self._table.get_many([event_key(ref) for ref in places])
        there: list[Published] = [each for each in found if each is not None]
        told = [each for each in there if each.place == places[ref_of(each.name, each.id)]]
        return sorted(told, key=lambda each: each.place or 0, reverse=True), page.cursor

    async def settle(self, event: Published, place: Millis) -> Published | None:
        """Give an event its place, unless it has one. Returns it as it stands."""
        where = event_key(ref_of(event.name, event.id))
        unplaced = [[Check("at", "=", event.at), Check("place", "absent")]]
        write = functools.partial(self._table.update, where, when=unplaced, set={"place": place})
        stands: Published | None = (await self._again(write)).item
        return stands

    async def done(self, event: Published, due: Millis) -> None:
        """Note that nothing of an event is left to do until it is removed."""
        where = event_key(ref_of(event.name, event.id))
        write = functools.partial(
            self._table.update, where, when=[[Check("at", "=", event.at)]], set={"due": due}
        )
        await self._again(write)

    async def remove(self, event: Published, indexes: Iterable[Index]) -> None:
        """Remove an event whose time is over, which is mentioned in these indexes."""
        if event.place is not None:
            mention = Mention(ref_of(event.name, event.id), event.place)
            await self._gone([self._mention(index, mention) for index in indexes])
        await self._gone([event_key(ref_of(event.name, event.id))])

    # --- what is looked for ------------------------------------------------------------------

    async def shapes(self, name: str) -> list[Shape]:
        """The fields by which events of this name are looked for."""
        found: list[Shape] = []
        cursor: str | None = None
        while True:
            partition = shapes_partition(name)
            page = await self._table.query(partition, SHAPES, limit=PAGE, cursor=cursor)
            found += [item for _, item in page.items]
            cursor = page.cursor
            if cursor is None:
                return found

    async def note_shape(self, name: str, fields: Sequence[str], clock: Clock) -> Shape:
        """Note that events are looked for by these fields. Returns what was noted, and since when.

        The moment is one at which it is there for sure, for every event of a later one is to be in
        its index: so it is put without one first, since whoever puts it may stand still before.
        """
        where = shape_key(name, _digest("\0".join(fields)))
        known: Shape | None = await self._table.get(where)
        if known is None:
            blank = Shape([*fields], LATEST)
            written = await self._again(lambda: self._table.put(where, blank, absent=True))
            known = written.item or blank
        if known.since < LATEST:
            return known
        new, noted = {"since": clock.now()}, [[Check("since", "=", LATEST)]]
        written = await self._again(lambda: self._table.update(where, when=noted, set=new))
        stands: Shape = written.item or known
        return stands

    # --- indexes -----------------------------------------------------------------------------

    async def mention(self, indexes: Iterable[Index], mention: Mention) -> None:
        """Mention an event in these indexes."""
        for index in indexes:
            where = self._mention(index, mention)
            await self._again(functools.partial(self._table.put, where, mention))

    async def forget(self, indexes: Iterable[Index], mention: Mention) -> None:
        """Remove a mention from these indexes."""
        await self._gone([self._mention(index, mention) for index in indexes])

    async def mentions(
        self, index: Index, since: Millis, until: Millis | None = None
    ) -> AsyncIterator[Mention]:
        """The mentions in an index from a place on, in order; before `until`, if that is given."""
        partitions = self._layout.index(index_partition(*index))
        cursor: str | None = mentions_from(since)
        while True:
            page = await merged(self._table, partitions, MENTIONS, limit=PAGE, cursor=cursor)
            for _, mention in page.items:
                if until is not None and mention.place >= until:
                    return
                yield mention
            cursor = page.cursor
            if cursor is None:
                return

    async def subscribe(self, index: Index, subscription: Subscription) -> None:
        """Let events of this index find a wait."""
        where = self._subscription(index, subscription)
        await self._again(lambda: self._table.put(where, subscription))

    async def unsubscribe(
        self, indexes: Iterable[Index], subscriptions: Sequence[Subscription]
    ) -> None:
        """Let events of these indexes find some waits no more."""
        await self._gone(
            [self._subscription(index, each) for index in indexes for each in subscriptions]
        )

    async def subscriptions(self, index: Index) -> AsyncIterator[list[Subscription]]:
        """Those who wait for events of this index, a page at a time."""
        for partition in self._layout.index(index_partition(*index)):
            cursor: str | None = None
            while True:
                page = await self._table.query(partition, SUBSCRIPTIONS, limit=PAGE, cursor=cursor)
                if page.items:
                    yield [item for _, item in page.items]
                cursor = page.cursor
                if cursor is None:
                    break

    # --- inside ------------------------------------------------------------------------------

    def _mention(self, index: Index, mention: Mention) -> Key:
        return self._layout.indexed(mention_key(*index, mention), mention)

    def _subscription(self, index: Index, subscription: Subscription) -> Key:
        return self._layout.indexed(subscription_key(*index, subscription), subscription)

    async def _gone(self, keys: Sequence[Key]) -> None:
        if keys:
            await self._again(functools.partial(self._table.delete, keys))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]

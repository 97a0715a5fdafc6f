"""Copying all of a database into another of any kind, as it is stored.

Only where an item lies may be another place, for a table spreads what many write at once.
The source is read page by page and must not change meanwhile; the target must be empty. While the
copy goes on the target says so, and of what, and how far it is. So a copy that was cut short is
gone on with, and nothing else is ever overwritten. At the end all of it is read once more on both
sides and compared.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rewake.errors import RewakeError, StoreUnsuitable
from rewake.ledger import Copying, Day, Join, Process, View
from rewake.published import Mention, Subscription
from rewake.records import Header, Millis, Operation
from rewake.stores.ended import ENDED
from rewake.stores.keys import COPYING, DAY, TAGS, day_key, run_partition, series_of, view_key
from rewake.stores.layout import NUMBERED, Layout
from rewake.stores.listing import Listing
from rewake.stores.shelf import Shelf
from rewake.stores.table import Due, Key, Table
from rewake.streamed import LogBatch

PAGE = 200
"""How many partitions, large values or items are read at once."""
_BLOBS_AT_ONCE = 8
_AGAIN = "stop what has it open, if anything does, empty it, and again"


class Side(NamedTuple):
    """A database that is copied from, or to."""

    name: str
    """Its address, without a password."""
    table: Table
    shelf: Shelf
    listing: Listing


@dataclass
class Copied:
    """How much there is by now."""

    items: int = 0
    blobs: int = 0


async def copied(source: Side, target: Side, now: Millis, told: Callable[[str], None]) -> Copied:
    """Copy everything, and compare. `told` is told how far it is.

    Raises `StoreUnsuitable` if the target has something else, or the source is half a copy, is
    served, changes meanwhile, or is not the same as the copy in the end; and what the databases
    raise.
    """
    await _refuse_half(source)
    await _refuse_if_served(source, now)
    stamp = await source.listing.stamp()
    mark = await _begun(source, target, stamp)
    if mark.done:
        told(f"going on behind the partition {mark.done}")
    await _copy_items(source, target, mark, told)
    await _copy_blobs(source, target, told)
    if await source.listing.stamp() != stamp:
        raise StoreUnsuitable(f"{source.name} was written meanwhile: stop what serves it, again")
    told("comparing")
    found = await _compared(source, target)
    await target.table.delete([COPYING])
    return found


async def _refuse_half(source: Side) -> None:
    """Raise `StoreUnsuitable` if the source is a copy that is not whole: nor would be one of it."""
    found: Copying | None = await source.table.get(COPYING)
    if found is not None:
        told = f"{source.name} is half a copy of {found.source}"
        raise StoreUnsuitable(f"{told}: copy that one, or this to its end before")


async def _refuse_if_served(source: Side, now: Millis) -> None:
    """Raise `StoreUnsuitable` while somebody has a lease there. A server without work has none."""
    for tag in ["", *[each.tag async for page in _items(source.table, TAGS) for _, each in page]]:
        after: Due | None = None
        # What is due to be removed has ended.
        while found := await source.table.due(ENDED - 1, limit=PAGE, tag=tag, after=after):
            keys = dict.fromkeys(due.key for due in found)
            if any(_holds(item, now) for item in await source.table.get_many([*keys])):
                told = f"{source.name} is served: stop what serves it, and wait for a lease"
                raise StoreUnsuitable(told)
            after = found[-1]


def _holds(item: Any, now: Millis) -> bool:
    """Whether an item says that somebody has a lease of his own."""
    if isinstance(item, Header | Operation) and (not item.owner or item.process):
        return False
    return isinstance(item, Header | Operation | Process) and item.lease > now


async def _begun(source: Side, target: Side, stamp: str) -> Copying:
    """What the target says of the copy, which has begun now or before."""
    new = Copying(source.name, stamp)
    there = await target.listing.partitions("", 2)
    if not there:
        await target.table.put(COPYING, new)
        return new
    found: Copying | None = await target.table.get(COPYING)
    if found is None or found.source != source.name:
        of = "" if found is None else f": it is the copy of {found.source}, so far"
        do = "name an empty one, such as another ?schema= of PostgreSQL"
        raise StoreUnsuitable(f"{target.name} is not empty{of}: {do}")
    # What has changed since is not known part by part.
    return found if stamp and found.stamp == stamp else new


async def _copy_items(
    source: Side, target: Side, mark: Copying, told: Callable[[str], None]
) -> None:
    items, at, places = 0, mark.done, _Places(target.table)
    while page := await source.listing.partitions(at, PAGE):
        for partition in page:
            async for found in _items(source.table, partition):
                placed = places.of(found)
                await asyncio.gather(*(target.table.put(*each) for each in placed))
                items += len(placed)
        at = page[-1]
        await target.table.put(COPYING, Copying(mark.source, mark.stamp, at))
        told(f"{items} items")


class _Places:
    """Where items lie in a table, wherever they came from: `stores/layout.py` has the reasons.

    Join items stay behind: they are of the shards of their table, and one that is not there is
    closed. What it would have counted arrives at the header, which may wake early.
    """

    def __init__(self, table: Table) -> None:
        self._layout = Layout(table.spread)
        self._spreads = self._layout.shards > 1

    def of(self, found: Iterable[tuple[Key, Any]]) -> list[tuple[Key, Any]]:
        """The items with their keys there. The days on which runs were started come of views."""
        placed: dict[Key, Any] = {}
        for key, item in found:
            if isinstance(item, Day | Join):
                continue
            placed[self._layout.place(_together(key, item), item)] = item
            if self._spreads and isinstance(item, View):
                day = item.created // DAY
                placed[day_key(day)] = Day(day)
        return list(placed.items())


def _together(key: Key, item: Any) -> Key:
    """Where an item lies in a table that keeps all together."""
    if isinstance(item, LogBatch):
        return Key(run_partition(item.run), key.sort)
    if isinstance(item, NUMBERED):
        return Key(series_of(key.partition), key.sort)
    if isinstance(item, Mention | Subscription):
        return Layout.together(key)
    return view_key(item) if isinstance(item, View) else key


async def _copy_blobs(source: Side, target: Side, told: Callable[[str], None]) -> None:
    number = 0
    async for places in _blobs(source.listing):
        await asyncio.gather(*(_copy_blob(source, target, *place) for place in places))
        number += len(places)
        told(f"{number} large values")


async def _copy_blob(source: Side, target: Side, run: str, name: str) -> None:
    await target.shelf.put_blob(run, name, await source.shelf.get_blob(run, name))


async def _compared(source: Side, target: Side) -> Copied:
    """How much is the same on both sides. Raises `StoreUnsuitable` if anything is not."""
    found, places, days = Copied(), _Places(target.table), set[Key]()
    async for partition in _partitions(source.listing):
        async for page in _items(source.table, partition):
            placed = places.of(page)
            theirs = await target.table.get_many([key for key, _ in placed])
            for (key, mine), other in zip(placed, theirs, strict=True):
                if mine != other:
                    reason = f"{key.sort} of {key.partition} is not the same in {target.name}"
                    raise StoreUnsuitable(f"{reason}: {_AGAIN}")
            days |= {key for key, item in placed if isinstance(item, Day)}
            found.items += sum(not isinstance(item, Day) for _, item in placed)
    async for each in _blobs(source.listing):
        await asyncio.gather(*(_same_blob(source, target, *place) for place in each))
        found.blobs += len(each)
    there = 0
    async for partition in _partitions(target.listing):
        async for page in _items(target.table, partition):
            there += len(page)
    if there != found.items + len(days) + 1:  # and what says that it is a copy
        raise StoreUnsuitable(f"{target.name} has more than {source.name}: {_AGAIN}")
    return found


async def _same_blob(source: Side, target: Side, run: str, name: str) -> None:
    try:
        same = await source.shelf.get_blob(run, name) == await target.shelf.get_blob(run, name)
    except RewakeError as error:
        raise StoreUnsuitable(f"{target.name} lacks a value of run {run}: {error}") from error
    if not same:
        raise StoreUnsuitable(f"a value of run {run} is not the same in {target.name}")


async def _partitions(listing: Listing) -> AsyncIterator[str]:
    at = ""
    while page := await listing.partitions(at, PAGE):
        for partition in page:
            yield partition
        at = page[-1]


async def _items(table: Table, partition: str) -> AsyncIterator[list[tuple[Key, Any]]]:
    cursor: str | None = None
    while True:
        page = await table.query(partition, limit=PAGE, cursor=cursor)
        if page.items:
            yield list(page.items)
        cursor = page.cursor
        if cursor is None:
            return


async def _blobs(listing: Listing) -> AsyncIterator[Sequence[tuple[str, str]]]:
    at = ("", "")
    while page := await listing.blobs(at, _BLOBS_AT_ONCE):
        yield page
        at = page[-1]

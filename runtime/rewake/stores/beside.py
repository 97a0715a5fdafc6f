"""Several series beside each other, read as one: none of them can push out what is in another."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from rewake.records import Item, Millis
from rewake.stores.blobs import Again
from rewake.stores.series import Bounds, Series
from rewake.stores.table import Table

LOOKED_AT = 2_000
"""How many items one page looks at, at the most, to be full."""
SKEW: Millis = 3_600_000
"""So much earlier an item may say that it was made than one that is older: clocks differ, and are
set back. Further back none is looked for that was made since a moment.
"""
_STEP = 100
_DIGITS = 12


class Numbered(NamedTuple):
    """An item, with the name of its series and its number in that."""

    series: str
    number: int
    item: Any


class Page(NamedTuple):
    """Items, newest first, and from where to go on (None: there is no more)."""

    items: list[Numbered]
    cursor: str | None


class Beside:
    """The series of these names. `letter` is that of their partitions and of their items' keys.

    `called` names the whole, for who gives a cursor that is none; `apart` is as in `Series`.
    """

    def __init__(
        self,
        table: Table,
        again: Again,
        letter: str,
        bounds: Sequence[tuple[str, Bounds]],
        called: str,
        apart: str = "",
    ) -> None:
        self._called = called
        self._series = {
            name: Series(table, again, f"{letter}#{name}", letter, each, apart)
            for name, each in bounds
        }
        self.written = 0
        """How many items this process has written."""

    async def add(self, name: str, item: Item, large: Item | None = None) -> int:
        """Keep an item, as the newest one of this series. Returns its number."""
        self.written += 1
        return await self._series[name].append(item, large)

    async def find(self, name: str, number: int) -> Any:
        """The item of this number in a series; None if there is none."""
        series = self._series.get(name)
        return None if series is None else await series.at(number)

    async def find_apart(self, name: str, number: int) -> Any:
        """What is kept apart from that item; None if there is nothing."""
        return await self._series[name].apart(number)

    async def select(
        self, has: Callable[[Any], bool], *, since: Millis, limit: int, cursor: str | None
    ) -> Page:
        """A page of the items that are wanted, newest first. Raises `ValueError` for a cursor."""
        reading = _Reading(self._series, self._places(cursor))
        found: list[Numbered] = []
        for _ in range(LOOKED_AT):
            if len(found) == limit:
                break
            item = await reading.next(since)
            if item is None:
                return Page(found, None)
            if item.item.at >= since and has(item.item):
                found.append(item)
        return Page(found, reading.cursor())

    async def newest(self, name: str) -> list[Any]:
        """The newest items of one series, newest first; `LOOKED_AT` at the most."""
        found, number = list[Any](), None
        for _ in range(LOOKED_AT // _STEP):
            items = await self._series[name].before(number, _STEP)
            found += [item for _, item in items]
            if len(items) < _STEP:
                break
            number = items[-1][0]
        return found

    async def trim(self, now: Millis, limit: int) -> bool:
        """Remove what is over the bounds, a few items of each series. Whether more may be."""
        more = [await each.trim(now, limit) for each in self._series.values()]
        return any(more)

    def _places(self, cursor: str | None) -> dict[str, int]:
        """The numbers that were read last, by series. Raises `ValueError`."""
        if cursor is None:
            return {}
        numbers = cursor.split(".")
        fit = all(n == "" or (n.isdecimal() and len(n) <= _DIGITS) for n in numbers)
        if len(numbers) != len(self._series) or not fit:
            raise ValueError(f"this is no cursor of {self._called}")
        return {name: int(n) for name, n in zip(self._series, numbers, strict=True) if n}


class _Reading:
    """A pass through all series at once, newest first. `places`: the last numbers that it read."""

    def __init__(self, series: dict[str, Series], places: dict[str, int]) -> None:
        self._series = series
        self._places = places
        self._ahead: list[tuple[Millis, str, int, Any]] = []
        self._read: dict[str, list[tuple[int, Any]]] = {}

    async def next(self, since: Millis) -> Numbered | None:
        """The next item; None if no more can have been made then or later."""
        if not self._read:
            for name in self._series:
                await self._step(name)
        if not self._ahead:
            return None
        at, name, number, item = heapq.heappop(self._ahead)
        if -at < since - SKEW:
            return None
        self._places[name] = number
        await self._step(name)
        return Numbered(name, number, item)

    async def _step(self, name: str) -> None:
        """Have the next item of a series ahead, if there is one."""
        if not self._read.get(name):
            found = await self._series[name].before(self._places.get(name), _STEP)
            self._read[name] = found[::-1]
        if self._read[name]:
            number, item = self._read[name].pop()
            heapq.heappush(self._ahead, (-item.at, name, number, item))

    def cursor(self) -> str:
        """From where to go on."""
        return ".".join(str(self._places.get(name, "")) for name in self._series)

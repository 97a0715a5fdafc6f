"""A series keeps what is newest, within its bounds, whatever fails and whoever trims it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from rewake.errors import StoreUnavailable
from rewake.ledger import Audited, Received, ReceivedBody
from rewake.records import Item
from rewake.stores.memory import MemoryTable
from rewake.stores.series import Bounds, Series
from rewake.stores.table import Key, Spread, Table, Written
from tests.support.counting import CountingTable
from tests.support.tables import every_table

BOUNDS = Bounds(items=5, age=1_000)


async def again(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat a call once, as the store does."""
    try:
        return await call()
    except StoreUnavailable:
        return await call()


def series_of(table: Table) -> Series:
    return Series(table, again, "A#test", "A", BOUNDS)


def entry(at: int) -> Audited:
    return Audited(at, "token:ci", "run.start", 202)


async def moments(series: Series) -> list[int]:
    return [each.at for _, each in await series.before(None, 100)]


@every_table
async def test_the_newest_come_first(table: Table) -> None:
    """Items are read newest first, in pages that go on from a number."""
    series = series_of(table)
    for at in range(4):
        await series.append(entry(at))
    page = await series.before(None, 3)
    assert [(number, each.at) for number, each in page] == [(4, 3), (3, 2), (2, 1)]
    assert [each.at for _, each in await series.before(2, 3)] == [0]
    assert await series.before(1, 3) == []


@every_table
async def test_what_is_too_many_is_removed_a_few_at_a_time(table: Table) -> None:
    """Trimming removes the oldest of what is over the bound, and says whether more may be."""
    series = series_of(table)
    for at in range(12):
        await series.append(entry(at))
    assert await series.trim(100, 4) is True
    assert await moments(series) == list(range(11, 3, -1))
    assert await series.trim(100, 4) is False
    assert await moments(series) == [11, 10, 9, 8, 7]
    assert await series.trim(100, 4) is False
    await series.append(entry(12))
    await series.trim(100, 4)
    assert await moments(series) == [12, 11, 10, 9, 8]


@every_table
async def test_what_is_too_old_is_removed(table: Table) -> None:
    """An item is kept for as long as its age allows, no longer; a blank series is no trouble."""
    series = series_of(table)
    assert await series.trim(5_000, 4) is False
    for at in (0, 10, 20):
        await series.append(entry(at))
    await series.trim(1_010, 4)
    assert await moments(series) == [20, 10]
    await series.trim(9_000, 4)
    assert await moments(series) == []
    await series.append(entry(9_000))
    assert await moments(series) == [9_000]


@every_table
async def test_it_is_bounded_in_bytes(table: Table) -> None:
    """Where there is a bound of bytes, what is over it is removed, however few items there are."""
    one = Received(0, "x" * 900, "started")
    series = Series(table, again, "D#test", "D", Bounds(100, 10**9, 5_000), "B")
    for at in range(8):
        await series.append(Received(at, "x" * 900, "started"))
    await series.trim(100, 10)
    sizes = [len(msgspec.json.encode(each)) for _, each in await series.before(None, 100)]
    assert 4_000 <= sum(sizes) <= 5_000
    await series.append(one, ReceivedBody(b"y" * 3_000))
    await series.trim(100, 10)
    assert [number for number, _ in await series.before(None, 100)] == [9]


@every_table
async def test_what_is_kept_apart_is_removed_with_its_item(table: Table) -> None:
    """A list reads nothing of it, and a trim leaves nothing behind."""
    series = Series(table, again, "D#test", "D", Bounds(2, 10**9, 10**6), "B")
    for at in range(4):
        large = ReceivedBody(b"%d" % at) if at % 2 else None
        assert await series.append(Received(at, "x", "started"), large) == at + 1
    assert [each.at for _, each in await series.before(None, 100)] == [3, 2, 1, 0]
    assert (await series.apart(2), await series.apart(3)) == (ReceivedBody(b"1"), None)
    await series.trim(100, 10)
    assert [await series.at(n) is None for n in range(1, 5)] == [True, True, False, False]
    assert [await series.apart(n) is None for n in range(1, 5)] == [True, True, True, False]


class _Forgetful(MemoryTable):
    """Reports the writes that are named as failed, after or before they were made."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__()
        self._faults = faults

    async def put(self, key: Key, item: Item, *, absent: bool = False) -> Written:
        return await self._fail(super().put(key, item, absent=absent))

    async def update(self, key: Key, **changes: Any) -> Written:
        return await self._fail(super().update(key, **changes))

    async def _fail(self, write: Any) -> Written:
        fault = self._faults.pop() if self._faults else ""
        if fault == "before":
            write.close()
            raise StoreUnavailable("it failed")
        written: Written = await write
        if fault == "after":
            raise StoreUnavailable("it may have failed")
        return written


@settings(deadline=None)
@given(
    st.lists(st.sampled_from(["", "before", "after"]), max_size=30),
    st.lists(st.sampled_from(["append", "trim"]), max_size=30),
)
def test_bounds_hold_whatever_fails(faults: list[str], calls: list[str]) -> None:
    """Writes that fail, or only seem to, leave gaps; the newest stay, no more than allowed."""

    async def main() -> None:
        series, kept = series_of(_Forgetful(faults)), list[int]()
        for number, call in enumerate(calls):
            if call == "trim":
                await series.trim(0, 100)
                found = await moments(series)
                assert len(found) <= BOUNDS.items
                assert found == kept[::-1][: len(found)]
                continue
            try:
                await series.append(entry(number))
            except StoreUnavailable:
                faults.clear()
                kept = (await moments(series))[::-1]  # it may be there
            else:
                kept.append(number)

    asyncio.run(main())


def test_two_that_trim_and_one_that_is_late_remove_nothing_new() -> None:
    """Whoever removes what it read long ago removes just that: a place is never used again."""

    class Late(MemoryTable):
        held: asyncio.Event | None = None

        async def delete(self, keys: Any, *, when: Any = ()) -> None:
            held, self.held = self.held, None
            if held is not None:
                await held.wait()
            await super().delete(keys, when=when)

    async def main() -> None:
        table = Late()
        series = series_of(table)
        for at in range(8):
            await series.append(entry(at))
        table.held = held = asyncio.Event()
        late = asyncio.ensure_future(series.trim(0, 100))
        await asyncio.sleep(0.01)
        await series.trim(0, 100)
        for at in range(8, 12):
            await series.append(entry(at))
        held.set()
        await late
        assert await moments(series) == list(range(11, 2, -1))

    asyncio.run(main())


def test_what_many_keep_at_once_is_spread() -> None:
    """No partition takes more than its part; the counter has one write for each item."""

    async def main() -> None:
        table = CountingTable(spread=Spread(16))
        series = Series(table, again, "A#start", "A", BOUNDS)
        for at in range(160):
            await series.append(entry(at))
        counter = table.places.pop("A#start")
        assert counter == 160
        assert max(table.places.values()) == 160 // 16

    asyncio.run(main())

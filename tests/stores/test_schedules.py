"""Schedules and the counts of alerts in a table: of two writers one wins, and each knows it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from rewake.ledger import Backfill, Became, Schedule
from rewake.stores.floods import Floods
from rewake.stores.layout import Layout
from rewake.stores.schedules import Schedules
from rewake.stores.table import Table
from tests.support.tables import every_table

MADE = Schedule("s.1", "main", 5, period=1_000, mark="a", next=7, due=9)
TELLS = msgspec.structs.replace(
    MADE,
    inputs='{"text": "é\\u0000"}',
    became=[Became(1, run="r"), Became(2, why="because", until=4)],
    backfills=[Backfill(1, 2, True)],
    trouble="é",
)


async def once(call: Callable[[], Awaitable[Any]]) -> Any:
    return await call()


async def twice(call: Callable[[], Awaitable[Any]]) -> Any:
    """Repeat each call, as if the table had not said how the first one went."""
    await call()
    return await call()


def schedules(table: Table) -> Schedules:
    return Schedules(table, Layout(table.spread), twice)


@every_table
async def test_of_two_changes_the_second_is_refused(table: Table) -> None:
    """Each is fenced by the mark that it has seen, and one's own success is known again. What a
    schedule tells comes back as it was.
    """
    store = schedules(table)
    assert await store.create(MADE) == MADE
    assert await store.create(msgspec.structs.replace(MADE, mark="x")) == MADE
    changed = await store.change(MADE, "b", {"next": 8, "due": None})
    assert changed == msgspec.structs.replace(MADE, mark="b", next=8, due=None)
    assert await store.change(MADE, "c", {"next": 9}) is None
    assert await store.find("s.1") == changed
    assert not await store.remove(MADE)
    assert changed is not None
    assert await store.remove(changed)
    assert await store.find("s.1") is None
    new = {name: getattr(TELLS, name) for name in ("inputs", "became", "backfills", "trouble")}
    told = msgspec.structs.replace(TELLS, mark="d")
    await store.create(MADE)
    assert await store.change(MADE, "d", new) == told
    assert await store.find("s.1") == told


@every_table
async def test_what_is_due_is_in_the_index_and_all_are_listed(table: Table) -> None:
    """By name, a page at a time, in whichever partitions they lie."""
    store = schedules(table)
    for number in range(12):
        due = 5 if number == 3 else 50
        await store.create(msgspec.structs.replace(MADE, name=f"s{number:02d}", due=due))
    [due_now] = await table.due(10, limit=100)
    assert due_now.key == Layout(table.spread).schedule("s03")
    first = await store.page(limit=5, cursor=None)
    rest = await store.page(limit=20, cursor=first.cursor)
    found = [each.name for each in (*first.schedules, *rest.schedules)]
    assert found == [f"s{number:02d}" for number in range(12)]


@every_table
async def test_alerts_are_counted_by_window(table: Table) -> None:
    """The first of a window tells how many the one before had too many."""
    floods = Floods(table, once)
    counts = [await floods.count("a+b", 7, 2) for _ in range(5)]
    assert [(each.told, each.left) for each in counts] == [(n, 0) for n in range(1, 6)]
    first = await floods.count("a+b", 9, 2)
    assert (first.told, first.left) == (1, 3)
    assert (await floods.count("other", 9, 2)).told == 1

"""The due index in DynamoDB where many are due at once: pages of one moment, at the cost of pages.

An index has no order for entries of one number. Whether looks give each entry once is the contract
of tables; here is what they read for it, and what of it DynamoDB alone could get wrong.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest

from rewake.clock import SystemClock
from rewake.kinds import Kind
from rewake.records import Header, Operation
from rewake.stores.dynamodb.attributes import SHARDS, Names, due_at, due_of, place_in, place_of
from rewake.stores.protocol import Store
from rewake.stores.table import Due, Key
from tests.support.small_dynamodb import SmallDynamo
from tests.support.small_table import SmallTable

MOMENT = 1_700_000_000_000
PAGE = 500
SAME = [
    ("R#ff81d0f447", "R#69d19deb1c"),
    ("R#0d37cda345", "R#29e49af6ad"),
    ("R#29e1111127", "R#aa5c6e4992"),
    ("R#d52355eb38", "R#cbc4dd327f"),
]
"""Partitions whose headers have one fraction, two by two."""


def header(partition: str, due: int) -> Header:
    """The header of a run that is due."""
    return Header(partition[2:], "main", created=1, seed=7, runtime=1, due=due)


def part_of(key: Key) -> object:
    """The part of the index that an item is in."""
    return Names().part(key, "")


async def paged(look: Callable[[Due | None], Awaitable[list[Due]]], page: int) -> list[Due]:
    """All that looks find, each behind the page before."""
    found: list[Due] = []
    while True:
        more = await look(found[-1] if found else None)
        found += more
        if len(more) < page:
            return found


def test_a_page_of_one_moment_costs_a_page() -> None:
    """5,000 that are due at once: each is read about twice, however many pages there are."""

    async def main() -> None:
        table = SmallTable(SmallDynamo())
        keys = [Key(f"R#{n:04}", "H") for n in range(5_000)]
        for key in keys:
            await table.put(key, header(key.partition, MOMENT))
        found = await paged(lambda last: table.due(MOMENT, limit=PAGE, after=last), PAGE)
        assert sorted(found) == [Due(MOMENT, key) for key in keys]
        pages = len(keys) // PAGE + 1
        assert table.server.looks <= pages * SHARDS
        assert table.server.entries < 2.2 * len(keys)

    asyncio.run(main())


@pytest.mark.parametrize("pair", SAME)
@pytest.mark.parametrize("first", [True, False])
def test_two_keys_of_one_fraction_are_two_entries(pair: tuple[str, str], first: bool) -> None:
    """DynamoDB has no order for them: wherever a page ends, each comes once."""

    async def main() -> None:
        table = SmallTable(SmallDynamo())
        wanted = [Due(MOMENT, Key(partition, "H")) for partition in sorted(pair)]
        assert len({place_of(due.due, due.key) for due in wanted}) == 1
        if first:  # of another moment, so that a read ends between the two
            keys = (Key(pair[0], f"O#{n}") for n in itertools.count())
            before = next(key for key in keys if part_of(key) == part_of(wanted[0].key))
            wanted.insert(0, Due(MOMENT - 1, before))
            item = Operation(pair[0][2:], before.sort[2:], Kind.TASK, due=MOMENT - 1)
            await table.put(before, item)
        for partition in pair:
            await table.put(Key(partition, "H"), header(partition, MOMENT))
        for page in (1, 2, 3):
            look = lambda last, page=page: table.due(MOMENT, limit=page, after=last)  # noqa: E731
            assert await paged(look, page) == wanted

    asyncio.run(main())


def test_looks_for_some_runs_give_each_of_one_moment_once() -> None:
    """Pages of several runs are merged, though only the table knows its order."""

    async def main() -> None:
        table = SmallTable(SmallDynamo())
        nobody: Any = None
        store = Store(table, table, mark=lambda: "m", clock=SystemClock(), here=nobody)
        wanted = list[Due]()
        for run in "abc":
            for number, sort in enumerate(["H", *(f"O#{n}" for n in range(5))]):
                item = Operation(run, sort[2:], Kind.TASK, due=MOMENT + number % 2)
                key = Key(f"R#{run}", sort)
                await table.put(key, item if number else header(key.partition, MOMENT))
                wanted.append(Due(MOMENT + number % 2, key))
        for page in (1, 2, 5, 30):
            for runs in ("abc", "ca"):
                look = lambda last, runs=runs, page=page: store.due(  # noqa: E731
                    MOMENT + 1, limit=page, runs=list(runs), after=last
                )
                found = await paged(look, page)
                assert sorted(found) == sorted(
                    due for due in wanted if due.key.partition[2] in runs
                )
                assert [each.due for each in found] == sorted(each.due for each in found)

    asyncio.run(main())


@pytest.mark.parametrize("due", [0, 7, -7, MOMENT, 10**15 + MOMENT, 10**28 - 1])
def test_a_due_time_is_read_from_the_number_that_it_is(due: int) -> None:
    """Its fraction is exact and passed over, also in the other notations of numbers."""
    for key in (Key("", ""), Key("R#1", "H"), Key("R#ff81d0f447", "H")):
        place = place_of(due, key)
        stored = due_at(place)["N"]
        for number in (stored, stored.rstrip("0").rstrip("."), f"{place}E-10"):
            assert place_in(number) == place
            assert due_of({"due": {"N": msgspec.Raw(number)}}) == due
            assert due_of({"due": {"N": msgspec.Raw(f'"{number}"')}}) == due
    assert (
        place_of(due, Key("", "")) < place_of(due, Key("R#1", "H")) < place_of(due + 1, Key("", ""))
    )

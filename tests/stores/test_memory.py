"""Where the table in memory is as weak as DynamoDB, on purpose."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from rewake.errors import StoreError
from rewake.kinds import Kind
from rewake.ledger import View
from rewake.records import Operation
from rewake.stores.items import encode
from rewake.stores.memory import MAX_ITEM, MAX_PARTITION, MAX_SORT, MemoryTable
from rewake.stores.table import Due, Key
from rewake.streamed import LogBatch

O = Key("R#1", "O#x")  # noqa: E741 -- as in the protocol


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.time = 1_000

    def __call__(self) -> int:
        return self.time


def operation(due: int | None) -> Operation:
    """An operation that is due then."""
    return Operation(run="1", key="x", kind=Kind.TASK, due=due)


def test_the_due_index_lags_behind_writes() -> None:
    """An entry is seen only after the lag, while the item is seen at once."""

    async def main() -> None:
        clock = Clock()
        table = MemoryTable(now=clock, lag=50)
        await table.put(O, operation(5))
        assert await table.get(O) == operation(5)
        clock.time += 49
        assert await table.due(10, limit=10) == []
        clock.time += 1
        assert await table.due(10, limit=10) == [Due(5, O)]

    asyncio.run(main())


def test_the_due_index_lags_behind_removals() -> None:
    """An entry that was moved or removed is still seen, as it was, until the lag is over."""

    async def main() -> None:
        clock = Clock()
        table = MemoryTable(now=clock, lag=50)
        await table.put(O, operation(5))
        clock.time += 50
        await table.update(O, set={"due": 7})
        assert await table.due(10, limit=10) == [Due(5, O)]
        clock.time += 50
        await table.delete([O])
        assert await table.due(10, limit=10) == [Due(7, O)]
        clock.time += 50
        assert await table.due(10, limit=10) == []

    asyncio.run(main())


def test_changes_of_one_item_are_never_swapped() -> None:
    """A clock that jumps backwards delays the index, but the newest due time is the last seen."""

    async def main() -> None:
        clock = Clock()
        table = MemoryTable(now=clock, lag=50)
        await table.put(O, operation(5))
        clock.time -= 500
        await table.update(O, set={"due": 7})
        clock.time += 100
        assert await table.due(10, limit=10) == []
        clock.time += 1_000
        assert await table.due(10, limit=10) == [Due(7, O)]

    asyncio.run(main())


def test_an_item_of_400_kb_is_the_largest() -> None:
    """An item of 409,600 bytes with its key is stored; one byte more is a `StoreError`."""

    def view(size: int) -> View:
        empty = len(encode(View("", "main", 1))) + len("V") + len("main#1")
        return View("x" * (size - empty), "main", 1)

    async def main() -> None:
        table = MemoryTable()
        key = Key("V", "main#1")
        assert (await table.put(key, view(MAX_ITEM))).ok
        with pytest.raises(StoreError, match=r"item V main#1 is larger than 400 KB"):
            await table.put(key, view(MAX_ITEM + 1))
        with pytest.raises(StoreError, match="larger than 400 KB"):
            await table.put(Key("R#1", "L#x"), LogBatch("x" * MAX_ITEM, "x", 1, []))
        assert (await table.get(key)) == view(MAX_ITEM)

    asyncio.run(main())


def test_an_update_cannot_outgrow_the_largest_item() -> None:
    """An update that would make an item too large fails, and leaves it and the index alone."""

    async def main() -> None:
        table = MemoryTable()
        await table.put(O, operation(5))
        with pytest.raises(StoreError, match="larger than 400 KB"):
            await table.update(O, set={"name": "x" * MAX_ITEM, "due": 1})
        assert await table.get(O) == operation(5)
        assert await table.due(10, limit=10) == [Due(5, O)]

    asyncio.run(main())


@pytest.mark.parametrize(
    "key",
    [
        Key("", "O#"),
        Key("R#1", ""),
        Key("R" * (MAX_PARTITION + 1), "O#"),
        Key("R#1", "O#" + "é" * (MAX_SORT // 2)),
    ],
    ids=["no partition", "no sort key", "long partition", "long sort key"],
)
def test_keys_have_limits(key: Key) -> None:
    """Keys are neither empty nor longer, in UTF-8, than DynamoDB allows."""

    async def main() -> None:
        with pytest.raises(StoreError, match="bytes"):
            await MemoryTable().put(key, operation(None))

    asyncio.run(main())


def test_a_full_page_has_a_cursor_even_at_the_end() -> None:
    """As in DynamoDB, a cursor does not promise that anything follows."""

    async def main() -> None:
        table = MemoryTable()
        await table.put(O, operation(None))
        page = await table.query("R#1", limit=1)
        assert page.cursor is not None
        assert (await table.query("R#1", limit=1, cursor=page.cursor)).items == []

    asyncio.run(main())


def test_a_delete_of_many_is_many_writes() -> None:
    """Another caller may act between the removals of one call."""

    async def main() -> None:
        table = MemoryTable()
        keys = [Key("R#1", f"O#{i}") for i in range(3)]
        for key in keys:
            await table.put(key, operation(None))
        seen = []
        deleting = asyncio.create_task(table.delete(keys))
        while not deleting.done():
            seen.append(len((await table.query("R#1")).items))
        assert seen[0] == 3
        assert set(seen) & {1, 2}

    asyncio.run(main())


def test_together_promises_nothing() -> None:
    """Work that fails in `together` leaves the writes that it made, and others may interleave."""

    async def main() -> None:
        table = MemoryTable()
        others: list[bool] = []

        async def work() -> None:
            await table.put(O, operation(5))
            others.append((await table.get(O)) == operation(6))
            raise KeyError

        async def other() -> None:
            await table.put(O, operation(6))

        with pytest.raises(KeyError):
            await asyncio.gather(table.together(work), other())
        assert others == [True]
        assert await table.get(O) == operation(6)

    asyncio.run(main())


def test_every_call_gives_way_before_it_acts() -> None:
    """Nothing has happened until the event loop ran once, so that any order can occur."""

    async def main() -> None:
        table = MemoryTable()
        putting = table.put(O, operation(5))
        putting.send(None)
        assert await table.get(O) is None
        with pytest.raises(StopIteration):
            putting.send(None)
        assert msgspec.json.encode(await table.get(O)) == msgspec.json.encode(operation(5))

    asyncio.run(main())

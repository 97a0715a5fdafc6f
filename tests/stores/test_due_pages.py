"""Pages of the due index."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from rewake.stores.table import Due, Key
from tests.stores.test_table_contract import every_table, header, operation
from tests.support.stores import WholeTable


@pytest.mark.parametrize("tag", ["", "gpu"])
@pytest.mark.parametrize("partition", [None, "R#1"])
@every_table
async def test_the_due_index_is_read_in_pages(
    table: WholeTable, partition: str | None, tag: str
) -> None:
    """Behind an entry come those that are due later, or then and with a later key; none twice.

    The entry itself need not be there any more. What has another tag is never among them.
    """
    every = [] if tag else [Due(10 * n, Key(f"R#{run}", "H")) for n, run in enumerate("12", 1)]
    every += [Due(50, Key(f"R#{run}", f"O#{n}")) for run in "12" for n in range(6)]
    for due in every:
        make = header if due.key.sort == "H" else operation
        name = {} if make is header else {"key": due.key.sort, "tag": tag}
        await table.put(due.key, make(**name, due=due.due))
        others = msgspec.structs.replace(due.key, sort=f"O#other-{due.due}{due.key.sort}")
        await table.put(others, operation(others.sort, due=due.due, tag="" if tag else "gpu"))
    wanted = sorted(
        (due for due in every if partition in (None, due.key.partition)),
        key=lambda due: (due.due, due.key),
    )
    asked: dict[str, Any] = {"partition": partition, "tag": tag}
    for size in (1, 2, 3, 20):
        seen: list[Due] = []
        while page := await table.due(99, limit=size, after=seen[-1] if seen else None, **asked):
            seen += page
        assert seen == wanted
    await table.delete([wanted[2].key])
    assert await table.due(99, limit=1, after=wanted[2], **asked) == [wanted[3]]
    assert await table.due(9, limit=1, after=wanted[0], **asked) == []


@every_table
async def test_a_tag_is_a_part_of_the_due_index(table: WholeTable) -> None:
    """An item is found under its tag alone, and follows it, also if its due time stays."""
    key = Key("R#1", "O#a")

    async def found() -> list[str]:
        return [tag for tag in ("", "cpu", "gpu") if await table.due(9, limit=9, tag=tag)]

    await table.update(key, create=operation("a", tag="gpu"), set={"due": 5})
    assert await found() == ["gpu"]
    await table.update(key, set={"owner": "me"})
    assert await found() == ["gpu"]
    await table.update(key, set={"tag": "cpu"})
    assert await found() == ["cpu"]
    await table.update(key, set={"due": 6})
    assert await table.due(9, limit=9, tag="cpu") == [Due(6, key)]
    await table.update(key, set={"tag": ""})
    assert await found() == [""]
    await table.update(key, set={"tag": "gpu", "due": None})
    assert await found() == []
    await table.update(key, set={"due": 7})
    assert await found() == ["gpu"]
    await table.put(key, operation("a", due=8))
    assert await found() == [""]
    await table.put(key, operation("a", due=8, tag="gpu"))
    await table.delete([key])
    assert await found() == []

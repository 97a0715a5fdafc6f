"""Pages of the due index."""

from __future__ import annotations

import pytest

from rewake.stores.table import Due, Key
from tests.stores.test_table_contract import header, operation
from tests.support.stores import WholeTable
from tests.support.tables import every_table


@pytest.mark.parametrize("partition", [None, "R#1"])
@every_table
async def test_the_due_index_is_read_in_pages(table: WholeTable, partition: str | None) -> None:
    """Behind an entry come those that are due later, or then and with a later key; none twice.

    The entry itself need not be there any more.
    """
    every = [Due(10 * n, Key(f"R#{run}", "H")) for n, run in enumerate("12", 1)]
    every += [Due(50, Key(f"R#{run}", f"O#{n}")) for run in "12" for n in range(5)]
    for due in every:
        make = header if due.key.sort == "H" else operation
        name = {} if make is header else {"key": due.key.sort}
        await table.put(due.key, make(**name, due=due.due))
    wanted = sorted(
        (due for due in every if partition in (None, due.key.partition)),
        key=lambda due: (due.due, due.key),
    )
    for size in (1, 2, 3, 20):
        seen: list[Due] = []
        while page := await table.due(
            99, limit=size, partition=partition, after=seen[-1] if seen else None
        ):
            seen += page
        assert seen == wanted
    await table.delete([wanted[2].key])
    assert await table.due(99, limit=1, partition=partition, after=wanted[2]) == [wanted[3]]
    assert await table.due(9, limit=1, partition=partition, after=wanted[0]) == []

"""What a table promises of a read of many items, as `test_table_contract.py` has the rest."""

from __future__ import annotations

from rewake.stores.table import Key
from tests.stores.test_table_contract import H, every_table, header, operation
from tests.support.stores import WholeTable


@every_table
async def test_many_are_got_in_the_order_asked(table: WholeTable) -> None:
    """Of any partitions and types, however many; None stands for each that is missing."""
    keys = [Key(f"R#{n % 7}", f"O#{n}") for n in range(230)]
    for key in keys[::2]:
        await table.put(key, operation(key.sort))
    await table.put(H, header())
    found = await table.get_many([H, *keys[::-1]])
    expected = [operation(key.sort) if n % 2 == 0 else None for n, key in enumerate(keys)]
    assert found == [header(), *expected[::-1]]
    assert await table.get_many([]) == []


@every_table
async def test_many_are_read_as_they_were_written(table: WholeTable) -> None:
    """What was written before the call is found, like by `get`."""
    for epoch in range(3):
        await table.put(H, header(epoch=epoch))
        assert await table.get_many([Key("R#2", "H"), H]) == [None, header(epoch=epoch)]

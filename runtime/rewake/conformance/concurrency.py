"""What a `Table` promises to those who use it at once."""

from __future__ import annotations

import asyncio
import threading

import pytest

from rewake.conformance.running import OnTables, with_a_table
from rewake.conformance.samples import H, header, one, operation
from rewake.stores.table import Key, Table


class ConcurrentTables(OnTables):
    """The tests of a table that many use at once; `TableContract` has them too."""

    @with_a_table
    async def test_no_addition_is_lost(self, table: Table) -> None:
        """Sixteen tasks that add one each, again and again, make the sum."""
        await table.put(H, header())

        async def work() -> None:
            for _ in range(10):
                await table.update(H, add={"arrivals": 1})

        await asyncio.gather(*(work() for _ in range(16)))
        assert (await table.get(H)).arrivals == 160

    @with_a_table
    async def test_one_of_many_wins(self, table: Table) -> None:
        """Of conditional writes that exclude each other exactly one succeeds; the rest see it."""
        made = await asyncio.gather(*(table.put(H, header(seed=i), absent=True) for i in range(16)))
        assert [write.ok for write in made].count(True) == 1
        assert len({write.item.seed for write in made}) == 1
        free = one("owner", "=", "")
        claims = (table.update(H, when=free, set={"owner": f"p{i}"}) for i in range(16))
        written = await asyncio.gather(*claims)
        (winner,) = [write for write in written if write.ok]
        assert {write.item.owner for write in written} == {winner.item.owner}

    @with_a_table
    async def test_what_is_changed_is_not_removed(self, table: Table) -> None:
        """A removal on a condition and a change that ends it exclude each other."""
        keys = [Key("R#1", f"O#{i}") for i in range(8)]
        for key in keys:
            await table.put(key, operation(key.sort))
        idle = one("owner", "=", "")
        claims = [table.update(key, when=idle, set={"owner": "me"}) for key in keys]
        claiming = asyncio.gather(*claims)
        await asyncio.gather(*(table.delete([key], when=idle) for key in keys))
        written = await claiming
        for key, write in zip(keys, written, strict=True):
            assert (await table.get(key) is not None) is write.ok

    @with_a_table
    async def test_a_table_serves_the_loops_of_many_threads(self, table: Table) -> None:
        """Every method may be called from any loop of any thread, and no addition is lost."""
        if not self.threads:
            pytest.skip("it is for one thread")

        async def adds(table: Table) -> None:
            for _ in range(20):
                await table.update(H, add={"arrivals": 1})
                assert (await table.get(H)).arrivals > 0

        await table.put(H, header())
        threads = [threading.Thread(target=lambda: asyncio.run(adds(table))) for _ in range(4)]
        for thread in threads:
            thread.start()
        await adds(table)
        for thread in threads:
            await asyncio.to_thread(thread.join)
        assert (await table.get(H)).arrivals == 100

    @with_a_table
    async def test_a_cancelled_caller_harms_nobody(self, table: Table) -> None:
        """Whether or not its write happened, the others' did and the table goes on."""
        await table.put(H, header())
        doomed = asyncio.create_task(table.update(H, set={"owner": "doomed"}))
        other = asyncio.create_task(table.update(H, add={"epoch": 1}))
        await asyncio.sleep(0)
        doomed.cancel()
        assert (await other).ok
        await asyncio.wait([doomed])
        found = await table.get(H)
        assert found.epoch == 1
        assert found.owner in {"", "doomed"}

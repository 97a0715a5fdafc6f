"""`rewake tables copy`: all of a database in another, or a reason why not."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Mapping, Sized
from pathlib import Path
from typing import Any

import pytest

from rewake.access import Scope
from rewake.cli.exits import Exit
from rewake.cli.local.copying import copy
from rewake.errors import ConfigError, StoreUnavailable, StoreUnsuitable
from rewake.hosts.databases import (
    Address,
    check_database,
    open_database,
    open_to_read,
    refuse_unfit,
    values_of,
)
from rewake.kinds import Kind
from rewake.ledger import Audited, Copying, Join, KnownTag, Process, Received, View
from rewake.records import Chunk, Header, Operation
from rewake.stores.audit import Audit, Wanted
from rewake.stores.copying import Side, copied
from rewake.stores.deliveries import Deliveries
from rewake.stores.dynamodb.billed import BilledTable
from rewake.stores.keys import (
    COPYING,
    header_key,
    join_key,
    log_key,
    operation_key,
    process_key,
    tag_key,
    view_key,
)
from rewake.stores.layout import Layout
from rewake.stores.memory import MemoryTable
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Key, Spread
from rewake.stores.views import Views
from rewake.streamed import LogBatch
from tests.support.postgres import cluster, needs_postgres
from tests.support.small_dynamodb import SmallDynamo

BLOB = bytes(range(256)) * 1000
NAME = hashlib.sha256(BLOB).hexdigest()


async def grow(table: SqliteTable) -> None:
    """Runs of several kinds of items, more than a page of partitions and of items."""
    for number in range(230):
        key = Key(f"R#{number}", "H")
        await table.put(key, Header(f"{number}", "main", 1, seed=7, runtime=1, due=number or None))
        view = View(f"{number}", "main", number)
        await table.put(view_key(view), view)
    for number in range(250):
        await table.put(Key("R#7", f"O#a\0{number}"), Operation("7", f"a\0{number}", Kind.TASK))
    await table.put(Key("R#7", "C#00000000#x"), Chunk("", []))
    for number in range(11):
        await table.put_blob(f"{number}", NAME, BLOB)


@pytest.fixture
def grown(tmp_path: Path) -> str:
    """The address of a file that has some runs."""
    file = tmp_path / "grown.db"

    async def main() -> None:
        table = SqliteTable(file, durable=False)
        await grow(table)
        await table.close()

    asyncio.run(main())
    return str(file)


def contents(address: str) -> tuple[list[Any], list[Any]]:
    """All items and large values of a database."""

    async def main() -> tuple[list[Any], list[Any]]:
        table, shelf, _, listing = open_to_read(Address(address))
        try:
            items: list[Any] = []
            for partition in await listing.partitions("", 10_000):
                items += (await table.query(partition)).items
            blobs = await listing.blobs(("", ""), 10_000)
            return items, [(place, await shelf.get_blob(*place)) for place in blobs]
        finally:
            await table.close()

    return asyncio.run(main())


@needs_postgres
def test_a_grown_file_moves_to_postgresql_and_back(
    grown: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All items and large values are there and the same, in order, and it is said how many."""
    with cluster().schema() as address:
        assert copy(grown, address) is Exit.DONE
        told = "copied 711 items and 11 large values, and compared them all\n"
        assert capsys.readouterr().out == told
        assert contents(address) == contents(grown)
        back = str(tmp_path / "back.db")
        assert copy(address, back) is Exit.DONE
        assert contents(back) == contents(grown)


def test_a_copy_that_was_cut_short_goes_on(
    grown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A write that fails leaves a target that takes the same copy again, and nothing else."""
    target, original, writes = str(tmp_path / "target.db"), SqliteTable.put, []

    async def failing(self: SqliteTable, key: Key, item: Any, **more: Any) -> Any:
        writes.append(key)
        if len(writes) == 600:
            raise StoreUnavailable("the network is away")
        return await original(self, key, item, **more)

    monkeypatch.setattr(SqliteTable, "put", failing)
    with pytest.raises(StoreUnavailable):
        copy(grown, target)
    other = str(tmp_path / "other.db")
    asyncio.run(open_database(Address(other)).table.close())
    with pytest.raises(StoreUnsuitable, match=f"is not empty: it is the copy of {grown}, so far"):
        copy(other, target)
    before = len(writes)
    assert copy(grown, target) is Exit.DONE
    assert "going on behind the partition R#" in capsys.readouterr().err
    assert len(writes) - before < 711
    assert contents(target) == contents(grown)
    with pytest.raises(StoreUnsuitable, match="is not empty"):
        copy(grown, target)


def test_half_a_copy_is_not_served(tmp_path: Path) -> None:
    """Neither checked as one that fits: it says of what it is a copy, and what to do."""
    address = Address(str(tmp_path / "half.db"))

    async def begun() -> None:
        table, _ = open_database(address)
        await table.put(COPYING, Copying("grown.db", "1"))
        await table.close()

    refuse_unfit(address)  # one that is not there yet is made
    Path(address.db).touch()
    refuse_unfit(address)  # another server makes it just now
    asyncio.run(begun())
    with pytest.raises(StoreUnsuitable, match=r"half a copy of grown\.db: .*rewake tables copy"):
        refuse_unfit(address)
    [wrong] = asyncio.run(check_database(address))
    assert "half a copy" in wrong


def test_half_a_copy_is_not_copied(tmp_path: Path) -> None:
    """It is told before anything is: a copy of it would say of itself what it says."""
    half, target = str(tmp_path / "half.db"), str(tmp_path / "target.db")

    async def begun() -> None:
        table, _ = open_database(Address(half))
        await table.put(COPYING, Copying("grown.db", "1"))
        await table.close()

    asyncio.run(begun())
    with pytest.raises(StoreUnsuitable, match=r"is half a copy of grown\.db: copy that one"):
        copy(half, target)
    assert contents(target) == ([], [])


def test_a_target_that_is_open_takes_no_copy(grown: str, tmp_path: Path) -> None:
    """A server that was started on it while it was empty would begin runs that are half there."""
    target = str(tmp_path / "target.db")

    async def opened() -> None:
        table = SqliteTable(target, durable=False)
        with pytest.raises(StoreUnsuitable, match=r"target\.db is open in another program"):
            await asyncio.to_thread(copy, grown, target)
        await table.close()

    asyncio.run(opened())
    assert contents(target) == ([], [])
    assert copy(grown, target) is Exit.DONE


def test_what_is_served_is_not_copied(grown: str, tmp_path: Path) -> None:
    """A process that holds a lease is found; so is a write while the copy goes on."""
    file, held = str(tmp_path / "held.db"), Process("p", "host:1", lease=2**49, due=2**49)

    async def main() -> None:
        table = SqliteTable(file, durable=False)
        await table.put(process_key("p"), held)
        await table.close()

    asyncio.run(main())
    with pytest.raises(StoreUnsuitable, match="is served: stop what serves it"):
        copy(file, str(tmp_path / "target.db"))
    with pytest.raises(ConfigError, match="the same database"):
        copy(grown, grown)


@pytest.mark.parametrize("tag", ["", "gpu"])
def test_a_lease_is_found_behind_much_that_is_due_before(tag: str) -> None:
    """Sleepers that wake soon do not hide it, nor does a server that takes only what has a tag."""

    async def main() -> None:
        source, target = MemoryTable(spread=Spread()), MemoryTable(spread=Spread())
        for number in range(250):
            header = Header(f"{number}", "main", 1, seed=7, runtime=1, due=20 + number)
            await source.put(header_key(header.run), header)
        await source.put(tag_key("gpu"), KnownTag("gpu"))
        await source.put(process_key("p"), Process("p", "host:1", lease=900, due=900, tag=tag))
        with pytest.raises(StoreUnsuitable, match="is served"):
            await copied(_side(source), _side(target), 10, _told)
        assert (await copied(_side(source), _side(target), 900, _told)).items == 252

    asyncio.run(main())


def test_a_write_meanwhile_is_found(
    grown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written to the source while it was copied is no part of a copy: it is refused."""
    original = SqliteTable.put_blob

    async def disturbing(self: SqliteTable, run: str, name: str, data: bytes) -> None:
        await original(self, run, name, data)
        if run == "3":
            table = SqliteTable(grown, durable=False)
            await table.put(Key("R#new", "H"), Header("new", "main", 1, seed=7, runtime=1))
            await table.close()

    monkeypatch.setattr(SqliteTable, "put_blob", disturbing)
    with pytest.raises(StoreUnsuitable, match="was written meanwhile"):
        copy(grown, str(tmp_path / "target.db"))


def test_a_copy_that_differs_is_no_copy(
    grown: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An item that the target lost is found at the end, and the target stays marked as a copy."""
    target, original = str(tmp_path / "target.db"), SqliteTable.put

    async def losing(self: SqliteTable, key: Key, item: Any, **more: Any) -> Any:
        if key.sort == "O#a\x00100":
            return None
        return await original(self, key, item, **more)

    monkeypatch.setattr(SqliteTable, "put", losing)
    with pytest.raises(StoreUnsuitable, match="is not the same in"):
        copy(grown, target)
    assert COPYING in [key for key, _ in contents(target)[0]]


def test_items_lie_where_the_target_wants_them() -> None:
    """Into a table that spreads what many write at once, and back: each item in its place."""

    async def main() -> None:
        spread, together = MemoryTable(), MemoryTable(spread=Spread())
        run, key = "7", "fetch.1000"
        view = View(run, "main", 5)
        items: list[tuple[Key, Any]] = [
            (operation_key(run, key), Operation(run, key, Kind.TASK)),
            (log_key(run, key, 1, 0), LogBatch(run, key, 1, [])),
            (view_key(view), view),
        ]
        for each in items:
            await together.put(*each)
        layout, now = Layout(spread.spread), 10
        assert (await copied(_side(together), _side(spread), now, _told)).items == 3
        assert await spread.get(layout.operation(run, key)) == items[0][1]
        assert await spread.get(layout.log(run, key, 1, 0)) == items[1][1]
        page = await Views(spread, layout, lambda call: call()).page(limit=9, cursor=None)
        assert [item for _, item in page.items] == [view]
        back = MemoryTable(spread=Spread())
        assert (await copied(_side(spread), _side(back), now, _told)).items == 3
        for place, item in items:
            assert await back.get(place) == item

    asyncio.run(main())


def test_what_is_numbered_is_found_where_it_was_copied_to() -> None:
    """The audit log and the deliveries to webhooks, with their bodies: dealt out, and back."""

    async def again(call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    async def told(table: MemoryTable) -> list[Any]:
        audit, deliveries = Audit(table, again), Deliveries(table, again)
        entries = await audit.page(Wanted(), limit=99)
        page = await deliveries.page(lambda _: True, limit=99)
        return [entries.entries, page, [await deliveries.body(each) for each in page.deliveries]]

    async def main() -> None:
        tables = [MemoryTable(spread=Spread(shards)) for shards in (1, 4, 3, 1)]
        audit, deliveries = Audit(tables[0], again), Deliveries(tables[0], again)
        for at in range(9):
            await audit.append(Audited(at, "a", "cancel", 200), Scope.OPERATE)
            received = Received(at, "shop", "started", whole=True, size=1)
            await deliveries.append(received, bytes([at]), "started")
        before = await told(tables[0])
        assert len(before[0]) == len(before[2]) == 9
        for source, target in itertools.pairwise(tables):
            await copied(_side(source), _side(target), 10, _told)
            assert await told(target) == before
        for partition, items in tables[0]._partitions.items():
            assert tables[-1]._partitions[partition] == items

    asyncio.run(main())


def test_join_items_stay_behind() -> None:
    """They belong to the shards of their table: one that is not there is closed."""

    async def main() -> None:
        spread, together = MemoryTable(), MemoryTable(spread=Spread())
        await spread.put(join_key("7", 3), Join(1, -5))
        await spread.put(header_key("7"), Header("7", "main", 1, seed=7, runtime=1, joins=1))
        assert (await copied(_side(spread), _side(together), 10, _told)).items == 1
        assert await together.get(join_key("7", 3)) is None

    asyncio.run(main())


def test_where_requests_are_billed_a_copy_is_the_same_too() -> None:
    """What a run has used is in its header, and to copy it is none of that."""

    async def main() -> None:
        source, dynamo = MemoryTable(spread=Spread()), SmallDynamo()
        header = Header("7", "main", 1, seed=7, runtime=1, due=5, writes=3)
        await source.put(header_key("7"), header)
        await source.put(operation_key("7", "a"), Operation("7", "a", Kind.TASK))
        table = BilledTable(dynamo, "t")
        target = Side("dynamodb://t", table, MemoryTable(), _ListedDynamo(dynamo))
        assert (await copied(_side(source), target, 10, _told)).items == 2
        assert await table.get(header_key("7")) == header

    asyncio.run(main())


def test_two_databases_have_no_large_values_in_common(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each removes those of its own runs: a copy to try things on would take the original's."""
    monkeypatch.setenv("REWAKE_BLOBS", "s3://values/all")
    with pytest.raises(ConfigError, match="s3://values/all would be of both"):
        copy("dynamodb://live", "dynamodb://trial")
    with pytest.raises(ConfigError, match="s3://values/all/shop would be of both"):
        copy("dynamodb://live/shop", "dynamodb://trial/shop")
    theirs = values_of(Address("dynamodb://trial/shop", "s3://values/all"))
    assert theirs != values_of(Address("dynamodb://live", "s3://values/all"))
    assert values_of(Address("a.db")) == ""


class _Listed:
    """All that a table in memory has."""

    def __init__(self, table: MemoryTable) -> None:
        self._table = table

    def there(self) -> Mapping[str, Sized]:
        return self._table._partitions

    async def partitions(self, after: str, limit: int) -> list[str]:
        there = [name for name, items in self.there().items() if items]
        return sorted(name for name in there if name > after)[:limit]

    async def blobs(self, after: tuple[str, str], limit: int) -> list[tuple[str, str]]:
        return sorted(place for place in self._table._blobs if place > after)[:limit]

    async def stamp(self) -> str:
        return ""


class _ListedDynamo(_Listed):
    """All that a small DynamoDB has, and no large value."""

    def __init__(self, dynamo: SmallDynamo) -> None:
        super().__init__(MemoryTable())
        self._dynamo = dynamo

    def there(self) -> Mapping[str, Sized]:
        return self._dynamo.items


def _told(_: str) -> None:
    """Nobody listens."""


def _side(table: MemoryTable) -> Side:
    return Side(f"memory:{id(table)}", table, table, _Listed(table))

"""What the SQLite table promises beyond the contract: one file, safely shared, never half done."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from rewake.errors import StoreFull, StoreUnavailable, StoreUnsuitable
from rewake.kinds import Kind
from rewake.records import Header, Operation
from rewake.stores.items import encode
from rewake.stores.sqlite import file, rows, writer
from rewake.stores.sqlite.file import APPLICATION_ID, SCHEMA_VERSION
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Due, Key

H = Key("R#1", "H")
both = pytest.mark.parametrize("threaded", [True, False], ids=["threaded", "unthreaded"])


@pytest.fixture(autouse=True)
def _all_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commit on the thread, however few the jobs; `test_sqlite_near.py` is about the rest."""
    monkeypatch.setattr(writer, "FEW", 0)


def header(**changes: Any) -> Header:
    """A header, but for `changes`."""
    return msgspec.structs.replace(Header("1", "main", 1, 7, 1), **changes)


def key(number: int) -> Key:
    """The header key of another run."""
    return Key(f"R#{number}", "H")


def run(table: SqliteTable, body: Callable[[], Awaitable[None]]) -> None:
    """Run `body` in an event loop of its own, then close the table."""

    async def main() -> None:
        try:
            await body()
        finally:
            await table.close()

    asyncio.run(main())


def connections(table: SqliteTable) -> list[sqlite3.Connection]:
    """The table's connections, to look behind the contract."""
    writer = table._writer
    near = [] if writer._near is None else [writer._near.connection]
    return [writer._far.connection, *near, table._reader.connection]


def ask(connection: sqlite3.Connection, question: str) -> Any:
    """One value."""
    return connection.execute(question).fetchone()[0]


# --- the file ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 0)])
def test_pragmas(tmp_path: Path, threaded: bool, durable: bool, level: int) -> None:
    """Every connection is in WAL mode and, unless a test asks otherwise, syncs every commit."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded, durable=durable, busy=3.0)

    near = table._writer._near and table._writer._near.connection

    async def body() -> None:
        for connection in connections(table):
            assert ask(connection, "PRAGMA journal_mode") == "wal"
            assert ask(connection, "PRAGMA synchronous") == level
            waits = connection is not near
            assert ask(connection, "PRAGMA busy_timeout") == (3000 if waits else 0)
            assert ask(connection, "PRAGMA application_id") == APPLICATION_ID
            assert ask(connection, "PRAGMA user_version") == SCHEMA_VERSION

    run(table, body)


def test_a_refused_synchronous_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sync level is read back: a file that cannot be durable is not opened."""
    monkeypatch.setattr(file, "_SYNCHRONOUS_FULL", 9)
    with pytest.raises(StoreUnsuitable, match="synchronous"):
        SqliteTable(tmp_path / "a.db")


@both
def test_items_survive_reopening(tmp_path: Path, threaded: bool) -> None:
    """What was answered is there for the next table on the file."""
    for expected in (None, header()):
        table = SqliteTable(tmp_path / "a.db", threaded=threaded)

        async def body(table: SqliteTable = table, expected: Header | None = expected) -> None:
            assert await table.get(H) == expected
            await table.put(H, header())

        run(table, body)


FIRST_LAYOUT = (
    "CREATE TABLE items (partition TEXT NOT NULL, sort TEXT NOT NULL, due INTEGER,"
    " body BLOB NOT NULL, PRIMARY KEY (partition, sort)) WITHOUT ROWID",
    "CREATE INDEX items_due ON items (due) WHERE due IS NOT NULL",
    "CREATE TABLE blobs (run TEXT NOT NULL, name TEXT NOT NULL, data BLOB NOT NULL,"
    " PRIMARY KEY (run, name))",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)


@both
def test_a_file_of_the_first_layout_is_brought_up_to_date(tmp_path: Path, threaded: bool) -> None:
    """What it has stays as it is, and its due index has a part for each tag from then on."""
    path, due = tmp_path / "a.db", header(due=5)
    foreign(path, *FIRST_LAYOUT)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO items VALUES ('R#1', 'H', 5, ?)", (encode(due),))
    table = SqliteTable(path, threaded=threaded)

    async def body() -> None:
        assert await table.get(H) == due
        assert await table.due(9, limit=9) == [Due(5, H)]
        assert await table.due(9, limit=9, tag="gpu") == []

    run(table, body)
    with closing(sqlite3.connect(path)) as connection:
        assert ask(connection, "PRAGMA user_version") == SCHEMA_VERSION


def foreign(path: Path, *statements: str) -> None:
    """Make a file that another program might have made."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


FOREIGN = {
    "tables": ("CREATE TABLE notes (text)",),
    "tables in WAL": ("PRAGMA journal_mode = WAL", "CREATE TABLE notes (text)"),
    "another mark": ("PRAGMA application_id = 77",),
    "a version and no mark": ("PRAGMA user_version = 3",),
    "a newer Rewake": (
        f"PRAGMA application_id = {APPLICATION_ID}",
        f"PRAGMA user_version = {SCHEMA_VERSION + 1}",
    ),
}


@pytest.mark.parametrize("statements", FOREIGN.values(), ids=FOREIGN.keys())
def test_a_foreign_file_is_not_touched(tmp_path: Path, statements: tuple[str, ...]) -> None:
    """A file of another program, or of a newer Rewake, is refused and stays byte for byte."""
    path = tmp_path / "a.db"
    foreign(path, *statements)
    before = path.read_bytes()
    with pytest.raises(StoreUnsuitable, match=r"a\.db"):
        SqliteTable(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_a_foreign_file_in_use_is_not_touched(tmp_path: Path) -> None:
    """Nor are the file and the log of a program that has it open, and loses nothing."""
    path, log = tmp_path / "a.db", tmp_path / "a.db-wal"
    with closing(sqlite3.connect(path, isolation_level=None)) as owner:
        owner.execute("PRAGMA journal_mode = WAL")
        owner.execute("CREATE TABLE notes (text)")
        before = path.read_bytes(), log.read_bytes()
        with pytest.raises(StoreUnsuitable):
            SqliteTable(path)
        assert (path.read_bytes(), log.read_bytes()) == before
        owner.execute("INSERT INTO notes VALUES ('still mine')")


@pytest.mark.parametrize("data", [b"hello", b"x" * 5000, b"SQLite format 4\0" + b"\0" * 4096])
def test_a_file_that_is_not_sqlite_is_not_touched(tmp_path: Path, data: bytes) -> None:
    """A file of another kind is refused, and stays as it is."""
    path = tmp_path / "a.db"
    path.write_bytes(data)
    with pytest.raises(StoreUnsuitable, match=r"a\.db.*not a database"):
        SqliteTable(path)
    assert path.read_bytes() == data
    assert [file.name for file in tmp_path.iterdir()] == ["a.db"]


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    """A folder that is not there is said with the path."""
    with pytest.raises(StoreUnavailable, match="missing"):
        SqliteTable(tmp_path / "missing" / "a.db")


def test_an_empty_file_becomes_a_table(tmp_path: Path) -> None:
    """A file of no bytes belongs to nobody."""
    (tmp_path / "a.db").touch()
    table = SqliteTable(tmp_path / "a.db")
    run(table, lambda: table.put(H, header()))  # type: ignore[arg-type, return-value]


def test_a_death_while_the_file_is_made(tmp_path: Path) -> None:
    """A file that was switched to WAL and no further is finished by the next one."""
    foreign(tmp_path / "a.db", "PRAGMA journal_mode = WAL")
    table = SqliteTable(tmp_path / "a.db")
    run(table, lambda: table.put(H, header()))  # type: ignore[arg-type, return-value]


OPENER = """
import asyncio, sys
from rewake.records import Header
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Key
async def main():
    sys.stdin.readline()
    table = SqliteTable(sys.argv[1])
    new = Header("1", "main", 1, 7, 1)
    for _ in range(20):
        await table.update(Key("R#1", "H"), add={"arrivals": 1}, create=new)
    await table.close()
asyncio.run(main())
"""


def test_processes_that_make_one_file_at_once(tmp_path: Path) -> None:
    """Processes that open the same new file at once all succeed, and lose no write."""
    command = [sys.executable, "-c", OPENER, str(tmp_path / "a.db")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    starts = [subprocess.Popen(command, stdin=subprocess.PIPE, env=environment) for _ in range(3)]
    for process in starts:
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
    assert [process.wait(60) for process in starts] == [0, 0, 0]
    table = SqliteTable(tmp_path / "a.db")

    async def body() -> None:
        assert (await table.get(H)).arrivals == 60

    run(table, body)


# --- transactions ------------------------------------------------------------------------------


def test_waiting_writes_share_a_commit(tmp_path: Path) -> None:
    """A thousand writes at once make few commits, and each has its own answer."""
    table = SqliteTable(tmp_path / "a.db")

    async def body() -> None:
        written = await asyncio.gather(*(table.put(key(i), header(seed=i)) for i in range(1000)))
        assert [write.item.seed for write in written] == list(range(1000))
        assert table.commits < 50

    run(table, body)


@both
def test_together_is_all_or_nothing(tmp_path: Path, threaded: bool) -> None:
    """Work that raises leaves none of its writes, and its neighbours all of theirs."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded)

    async def work() -> None:
        await table.put(H, header())
        await table.put_blob("1", "a", b"x")
        raise KeyError("mine")

    async def body() -> None:
        neighbours = [table.put(key(i), header()) for i in range(2, 6)]
        ends = await asyncio.gather(
            *neighbours[:2], table.together(work), *neighbours[2:], return_exceptions=True
        )
        assert [type(end).__name__ for end in ends].count("KeyError") == 1
        assert await table.get(H) is None
        assert all([await table.get(key(i)) is not None for i in range(2, 6)])
        await table.put_blob("1", "a", b"y")
        assert await table.get_blob("1", "a") == b"y"

    run(table, body)


def test_a_failing_job_does_not_abort_its_neighbours(tmp_path: Path) -> None:
    """In one batch, jobs that fail do so alone, whatever they raise."""
    table = SqliteTable(tmp_path / "a.db")

    async def body() -> None:
        await table.put(H, header())
        held, commits = await hold(table), table.commits
        ends = await asyncio.gather(
            table.update(key(2), create=header()),
            table.update(H, set={"epoch": "two"}),
            table.update(H, set={"owner": "me"}, when=[]),
            table.update(H, set={"no_such": 1}),
            table.update(key(3), create=header()),
            return_exceptions=True,
        )
        failed = [isinstance(end, BaseException) for end in ends]
        assert failed == [False, True, False, True, False]
        assert table.commits == commits + 1
        await held
        assert (await table.get(H)).owner == "me"
        assert await table.get(key(3)) is not None

    run(table, body)


async def hold(table: SqliteTable) -> asyncio.Task[None]:
    """Keep the writer busy until this event loop comes round, so that what follows is one batch."""
    loop, started, release = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    async def work() -> None:
        loop.call_soon_threadsafe(started.set)
        release.wait(10)

    holding = asyncio.create_task(table.together(work))
    await started.wait()
    loop.call_soon(lambda: loop.call_soon(release.set))
    return holding


def test_nothing_is_seen_before_its_commit(tmp_path: Path) -> None:
    """While a transaction runs, readers see what was before it."""
    table = SqliteTable(tmp_path / "a.db")

    async def body() -> None:
        await table.put(H, header())
        inside, release = threading.Event(), threading.Event()

        async def work() -> None:
            await table.update(H, add={"epoch": 1})
            inside.set()
            release.wait(10)

        writing = asyncio.create_task(table.together(work))
        await asyncio.to_thread(inside.wait, 10)
        assert (await table.get(H)).epoch == 0
        release.set()
        await writing
        assert (await table.get(H)).epoch == 1

    run(table, body)


@both
def test_what_changes_nothing_writes_nothing(tmp_path: Path, threaded: bool) -> None:
    """Reads, failed conditions and work that only reads leave the log as it was: no sync."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded)

    async def body() -> None:
        await table.put(H, header())
        before = (tmp_path / "a.db-wal").read_bytes()
        commits = table.commits
        await table.together(lambda: table.get(H))
        await table.together(lambda: table.query("R#1"))
        assert not (await table.put(H, header(epoch=3), absent=True)).ok
        assert not (await table.update(key(2), set={"epoch": 1})).ok
        await table.delete([key(2), key(3)])
        await table.due(5, limit=1)
        assert (tmp_path / "a.db-wal").read_bytes() == before
        assert table.commits == commits == 1

    run(table, body)


def test_two_tables_on_one_file_lose_nothing(tmp_path: Path) -> None:
    """Two writers of one file, as two processes have, wait for each other and lose no write."""
    one, two = (SqliteTable(tmp_path / "a.db") for _ in range(2))

    async def adds(table: SqliteTable) -> None:
        for _ in range(10):
            seen = await table.update(H, add={"arrivals": 1})
            assert (await table.get(H)).arrivals >= seen.item.arrivals

    async def body() -> None:
        await one.put(H, header())
        await asyncio.gather(*(adds(table) for table in (one, two) for _ in range(8)))
        assert (await one.get(H)).arrivals == (await two.get(H)).arrivals == 160
        await two.close()

    run(one, body)


@both
def test_a_lock_that_is_never_released_is_unavailable(tmp_path: Path, threaded: bool) -> None:
    """When another program keeps the file locked, a write says so; later ones succeed."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded, busy=0.01)

    async def body() -> None:
        with closing(sqlite3.connect(tmp_path / "a.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable):
                await table.put(H, header())
            assert await table.get(H) is None
            other.execute("ROLLBACK")
        assert (await table.put(H, header())).ok

    run(table, body)


# --- together, on the writer's thread ----------------------------------------------------------


@both
def test_together_may_await_nothing_else(tmp_path: Path, threaded: bool) -> None:
    """Work that waits for anything but its table is refused, and its writes undone."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded)

    async def work() -> None:
        await table.put(H, header())
        await asyncio.sleep(0)

    async def body() -> None:
        with pytest.raises(RuntimeError, match="await nothing but"):
            await table.together(work)
        assert await table.get(H) is None

    run(table, body)


@both
def test_together_keeps_the_caller_s_context(tmp_path: Path, threaded: bool) -> None:
    """Context variables mean in the work what they mean around it."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded)
    who = contextvars.ContextVar("who", default="nobody")

    async def work() -> str:
        return who.get()

    async def body() -> None:
        who.set("me")
        assert await table.together(work) == "me"

    run(table, body)


# --- the full disk -----------------------------------------------------------------------------


@both
def test_a_full_disk(tmp_path: Path, threaded: bool) -> None:
    """A write without room is `StoreFull`, leaves nothing half done, and the table goes on."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded)
    writer = table._writer._far.connection

    async def work() -> None:
        await table.put(H, header(owner="half"))
        await table.put_blob("1", "big", bytes(100_000))

    async def body() -> None:
        await table.put(H, header(owner="old"))
        writer.execute(f"PRAGMA max_page_count = {ask(writer, 'PRAGMA page_count') + 2}")
        with pytest.raises(StoreFull):
            await table.put_blob("1", "big", bytes(100_000))
        with pytest.raises(StoreFull):
            await table.together(work)
        assert await table.get(H) == header(owner="old")
        assert (await table.update(H, set={"owner": "new"})).ok
        writer.execute("PRAGMA max_page_count = 100000")
        await table.together(work)
        assert (await table.get(H)).owner == "half"

    run(table, body)


def test_work_that_outlives_its_transaction_writes_nothing(tmp_path: Path) -> None:
    """After SQLite gave up a transaction, work that goes on cannot write outside of one."""
    table = SqliteTable(tmp_path / "a.db")

    async def work() -> None:
        table._writer._far.connection.rollback()
        await table.put(H, header())

    async def body() -> None:
        ends = await asyncio.gather(
            table.together(work), table.put(key(2), header()), return_exceptions=True
        )
        assert isinstance(ends[0], StoreUnavailable)
        assert await table.get(H) is None
        told = not isinstance(ends[1], BaseException)
        assert (await table.get(key(2)) is not None) is told

    run(table, body)


# --- the index, and the end --------------------------------------------------------------------


def test_queries_use_their_indexes(tmp_path: Path) -> None:
    """The due query reads the partial index and nothing else; no query sorts or scans."""
    table = SqliteTable(tmp_path / "a.db", threaded=False)

    async def body() -> None:
        def plan(statement: str, *values: Any) -> str:
            rows = table._reader.connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
            return "; ".join(row[3] for row in rows)

        due = plan(rows._DUE, "", 5, -1, "", "", 10)
        assert "items_due (tag=? AND (due,partition,sort)>(?,?,?) AND due<?)" in due
        assert "USING COVERING INDEX" in due
        for statement in (rows._FORWARD, rows._BACKWARD):
            found = plan(statement, "R#1", "O#", b"", 10)
            assert "USING PRIMARY KEY (partition=? AND sort>? AND sort<?)" in found
            assert "TEMP B-TREE" not in found + due

    run(table, body)


@pytest.mark.parametrize("prefix", ["O#\ud7ff", "O#\U0010ffff", "O#x\U0010ffff\U0010ffff"])
def test_prefixes_at_the_edges_of_unicode(tmp_path: Path, prefix: str) -> None:
    """A prefix that ends in a last character finds its own and nothing more."""
    table = SqliteTable(tmp_path / "a.db")
    found = [prefix, prefix + "a", prefix + "\U0010ffff"]

    async def body() -> None:
        for sort in [*found, "O#", "O#\ue000", "O#y"]:
            await table.put(Key("R#1", sort), Operation("1", sort, Kind.TASK))
        page = await table.query("R#1", prefix)
        assert [key.sort for key, _ in page.items] == found

    run(table, body)


def test_close_finishes_what_waits(tmp_path: Path) -> None:
    """Writes before `close` are answered, calls after it refused, a second `close` is fine."""
    table = SqliteTable(tmp_path / "a.db")

    async def body() -> None:
        waiting = [asyncio.create_task(table.put(key(i), header())) for i in range(50)]
        await asyncio.sleep(0)
        await table.close()
        assert all(write.ok for write in await asyncio.gather(*waiting))
        for call in (table.get(H), table.put(H, header()), table.together(lambda: table.get(H))):
            with pytest.raises(StoreUnavailable, match="closed"):
                await call
        assert not (tmp_path / "a.db-wal").exists()

    run(table, body)


def test_a_loop_that_ended_does_not_stop_the_writer(tmp_path: Path) -> None:
    """A caller whose event loop closed before its answer harms nobody."""
    table = SqliteTable(tmp_path / "a.db")

    async def leave() -> None:
        held = await hold(table)
        doomed = asyncio.create_task(table.put(H, header()))
        await asyncio.sleep(0)
        held.cancel()
        doomed.cancel()

    async def body() -> None:
        assert (await table.put(key(2), header())).ok

    asyncio.run(leave())
    run(table, body)


# --- room ----------------------------------------------------------------------------------------


@both
def test_what_is_deleted_makes_the_file_smaller(tmp_path: Path, threaded: bool) -> None:
    """But for a reserve; a little with each deletion, so that nobody waits long for it."""
    table = SqliteTable(tmp_path / "a.db", threaded=threaded, durable=False)

    def size() -> int:
        with closing(sqlite3.connect(tmp_path / "a.db")) as opened:
            opened.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return (tmp_path / "a.db").stat().st_size

    async def body() -> None:
        for number in range(120):
            await table.put_blob(f"r{number}", "a", bytes(100_000))
        full = size()
        sizes = []
        for number in range(120):
            await table.delete_blobs(f"r{number}", limit=10)
            if number % 20 == 19:
                sizes.append(size())
        assert sizes == sorted(sizes, reverse=True)
        reserve = (rows.SPARE + 64) * 4096
        assert sizes[-1] <= reserve < full
        assert await table.get(H) is None

    run(table, body)

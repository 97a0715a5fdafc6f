"""What a PostgreSQL table does when its server, its network or its neighbours misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import socket
import stat
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from rewake.errors import ConfigError, StoreError, StoreFull, StoreUnavailable, StoreUnsuitable
from rewake.hosts.databases import Address, create_database, open_database, open_to_read
from rewake.kinds import Kind
from rewake.records import Header, Operation
from rewake.stores.postgres import connecting, line, opening, schema
from rewake.stores.postgres.joined import JoinedTable
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.table import Check, Key
from tests.support.postgres import Cluster, cluster, needs_postgres, rest_of

pytestmark = needs_postgres

H, OPERATION = Key("R#1", "H"), Key("R#1", "O#a")
HEADER = Header(run="1", workflow="main", created=1, seed=7, runtime=1)
PASSWORD = "a-password-that-no-log-may-have"


@pytest.fixture(scope="module")
def own() -> Iterator[Cluster]:
    """A server that may be stopped."""
    made = Cluster.start()
    yield made
    made.end()


@pytest.fixture
def address() -> Iterator[str]:
    """A schema of the shared server."""
    with cluster().schema() as made:
        yield made


@contextlib.asynccontextmanager
async def opened(*addresses: str) -> AsyncIterator[list[PostgresTable]]:
    """A table for each: each is a process's own."""
    tables = [opening.open_table(rest_of(each)) for each in addresses]
    try:
        yield tables
    finally:
        for each in tables:
            await each.close()


def statements(table: PostgresTable) -> list[str]:
    """The statements that the table carries out from now on, in the calling event loop."""
    seen: list[str] = []
    there: Any = table._line()
    carry_out = there._carry_out

    async def noted(connection: Any, statement: str, values: Sequence[Any], moves: int) -> Any:
        seen.append(statement)
        return await carry_out(connection, statement, values, moves)

    there._carry_out = noted
    return seen


# --- what it costs -------------------------------------------------------------------------------


def test_what_runs_together_is_one_statement(address: str) -> None:
    """A conditional write of an item that was seen, a new item, and all of it: a statement each."""

    async def main() -> None:
        async with opened(address) as [table]:
            await table.put(H, HEADER)
            seen = statements(table)
            held = [[Check("epoch", "=", 0)]]
            assert (await table.update(H, when=held, add={"epoch": 1})).ok
            assert len(seen) == 1

            async def work() -> bool:
                new = Operation("1", "a", Kind.TASK)
                fresh = [[Check("run", "absent")]]
                made = await table.update(OPERATION, when=fresh, set={"owner": "me"}, create=new)
                moved = await table.update(H, add={"arrivals": 1})
                return bool(made.ok and moved.ok)

            assert await table.together(work)
            assert len(seen) == 2
            await asyncio.gather(*(table.update(H, add={"arrivals": 1}) for _ in range(50)))
            assert len(seen) == 3

    asyncio.run(main())


def test_what_another_process_wrote_is_seen(address: str) -> None:
    """Whoever knows only what was is told what is, and no addition is lost."""

    async def main() -> None:
        async with opened(address, address) as [one, other]:
            await one.put(H, HEADER)
            await other.update(H, add={"epoch": 1})
            moved = await one.update(H, when=[[Check("epoch", "=", 0)]], set={"owner": "late"})
            assert (moved.ok, moved.item.epoch, moved.item.owner) == (False, 1, "")
            adds = [each.update(H, add={"arrivals": 1}) for each in (one, other) for _ in range(60)]
            await asyncio.gather(*adds)
            assert (await one.get(H)).arrivals == 120
            # A key that was deleted and made anew is not taken for what it was.
            await other.delete([H])
            await other.put(H, HEADER)
            assert (await one.update(H, add={"arrivals": 1})).item.arrivals == 1

    asyncio.run(main())


def test_opposite_orders_never_lock_each_other(address: str) -> None:
    """Two processes that write the same items in opposite orders do not wait for each other."""

    async def main() -> None:
        async with opened(address, address) as [one, other]:
            for key in (H, OPERATION):
                await one.put(key, HEADER if key is H else Operation("1", "a", Kind.TASK))

            async def both(table: PostgresTable, keys: Sequence[Key]) -> None:
                async def work() -> None:
                    for key in keys:
                        name = "arrivals" if key is H else "attempts"
                        await table.update(key, add={name: 1})

                for _ in range(40):
                    await table.together(work)

            await asyncio.gather(both(one, (H, OPERATION)), both(other, (OPERATION, H)))
            header, operation = await one.get(H), await one.get(OPERATION)
            assert (header.arrivals, operation.attempts) == (80, 80)

    with cluster().connected() as connection:
        asked = "SELECT sum(deadlocks) FROM pg_stat_database"
        before = connection.execute(asked).fetchone()
        asyncio.run(main())
        assert connection.execute(asked).fetchone() == before


# --- what there is no character for --------------------------------------------------------------


def test_any_text_and_size_is_kept(address: str) -> None:
    """Texts with NUL and half surrogate pairs come back, and items as large as any."""

    async def main() -> None:
        async with opened(address) as [table]:
            odd = Key("R#a\0b", "O#x\0\ud7ff\U0010ffff")
            item = Operation("1", "a\0", Kind.TASK, name="\0" * 10 + "é" * 2_000_000)
            await table.put(odd, item)
            assert await table.get(odd) == item
            assert [key for key, _ in (await table.query("R#a\0b", "O#x\0")).items] == [odd]
            blob = secrets.token_bytes(20_000_000)
            await table.put_blob("1", "large", blob)
            assert await table.get_blob("1", "large") == blob
            half = Key("R#1", "O#\ud800")
            assert await table.get(half) is None

    asyncio.run(main())


# --- trouble -------------------------------------------------------------------------------------


async def add_until(table: PostgresTable, stop: asyncio.Event) -> tuple[int, int]:
    """Add one each until told to stop; how often that was done, and how often nobody knows."""
    done = doubt = 0
    while not stop.is_set():
        try:
            done += (await table.update(H, add={"arrivals": 1})).ok
        except StoreUnavailable:
            doubt += 1
            await asyncio.sleep(0.01)
    return done, doubt


async def under_load(address: str, harm: Callable[[], Awaitable[object]]) -> tuple[int, int, int]:
    """Harm a server while it is written to; what is there, what was answered, what is in doubt."""
    async with opened(address) as [table]:
        await table.put(H, HEADER)
        stop = asyncio.Event()
        adding = [asyncio.create_task(add_until(table, stop)) for _ in range(8)]
        await asyncio.sleep(0.2)
        await harm()
        await asyncio.sleep(0.2)
        stop.set()
        counts = await asyncio.gather(*adding)
        found = (await table.get(H)).arrivals
        return found, sum(done for done, _ in counts), sum(doubt for _, doubt in counts)


def test_lost_connections_lose_nothing_that_was_answered(address: str) -> None:
    """Sessions that are ended in the middle of writes: what was answered stands, and it goes on."""

    async def harm() -> None:
        def end_all() -> None:
            with cluster().connected() as connection:
                for _ in range(10):
                    connection.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = 'rewake' AND pid <> pg_backend_pid()"
                        " AND query LIKE %s",
                        [f"%{place_of(rest_of(address)).schema}%"],
                    )

        await asyncio.to_thread(end_all)

    found, done, doubt = asyncio.run(under_load(address, harm))
    assert done <= found <= done + doubt
    assert done > 0


def test_a_restart_of_the_server_is_an_outage(own: Cluster) -> None:
    """A server that crashes and comes back: calls fail meanwhile as ones that may be repeated."""

    async def harm() -> None:
        await asyncio.to_thread(own.down)
        await asyncio.sleep(0.1)
        await asyncio.to_thread(own.up)

    with own.schema() as address:
        found, done, doubt = asyncio.run(under_load(address, harm))
    assert doubt > 0
    assert done <= found <= done + doubt


def raised(address: str, harm: Callable[[psycopg.Connection[Any], str], None]) -> StoreError:
    """The error of a write after the harm was done; once it is undone the table goes on."""

    async def main() -> StoreError:
        async with opened(address) as [table]:
            await table.put(H, HEADER)
            with cluster().connected() as connection:
                name = place_of(rest_of(address)).schema
                harm(connection, name)
                with pytest.raises(StoreError) as caught:
                    await table.update(H, add={"epoch": 1})
                connection.execute(f'DROP TRIGGER IF EXISTS harm ON "{name}".items')
            assert (await table.update(H, add={"epoch": 1})).ok
            assert (await table.get(H)).epoch == 1
            return caught.value

    return asyncio.run(main())


def raises_always(state: str) -> Callable[[psycopg.Connection[Any], str], None]:
    """Let every write of an item end with this SQLSTATE."""

    def harm(connection: psycopg.Connection[Any], name: str) -> None:
        connection.execute(
            f'CREATE FUNCTION "{name}".harm() RETURNS trigger LANGUAGE plpgsql AS'
            f" $$ BEGIN RAISE EXCEPTION 'harm' USING ERRCODE = '{state}'; END $$"
        )
        connection.execute(
            f'CREATE TRIGGER harm BEFORE INSERT OR UPDATE ON "{name}".items'
            f' FOR EACH ROW EXECUTE FUNCTION "{name}".harm()'
        )

    return harm


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        ("53100", StoreFull),  # no room on the disk
        ("53200", StoreUnavailable),  # memory
        ("53300", StoreUnavailable),  # connections
        ("40001", StoreUnavailable),
        ("40P01", StoreUnavailable),
        ("25006", StoreUnavailable),  # a replica
        ("57014", StoreUnavailable),  # statement_timeout
        ("57P01", StoreUnavailable),  # shutdown
        ("58030", StoreUnavailable),  # input and output
        ("42501", StoreUnavailable),  # rights that were taken away may come back
        ("XX000", StoreError),
    ],
)
def test_errors_are_told_by_what_to_do(address: str, state: str, kind: type[StoreError]) -> None:
    """What may pass is to be repeated, a full disk is said to be full; nothing was changed."""
    assert type(raised(address, raises_always(state))) is kind


def test_of_several_hosts_the_one_that_may_be_written_is_asked(address: str, own: Cluster) -> None:
    """Reads too: what a replica answers may be old, and a run parked on that would not wake."""
    hosts = f"127.0.0.1:{own.port},127.0.0.1:{cluster().port}"
    both = address.replace(f"127.0.0.1:{cluster().port}", hosts)

    async def main() -> None:
        async with opened(both) as [table]:
            await table.put(H, HEADER)
            assert await table.get(H) == HEADER
        reader = open_to_read(Address(both))
        assert await reader.table.get(H) == HEADER
        await reader.table.close()
        assert not any("replica" in each for each in opening.check(rest_of(both)))
        chosen = Address(f"{both}&target_session_attrs=any")
        with pytest.raises(StoreUnsuitable, match="no tables of Rewake"):  # of the first
            open_database(chosen)

    with own.connected() as connection:
        connection.autocommit = True
        connection.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        connection.execute("SELECT pg_reload_conf()")
        try:
            asyncio.run(main())
        finally:
            connection.execute("SET default_transaction_read_only = off")
            connection.execute("ALTER SYSTEM RESET default_transaction_read_only")
            connection.execute("SELECT pg_reload_conf()")


def test_a_replica_alone_is_read_and_not_served(address: str) -> None:
    """Who only looks may ask one; a server says that it cannot write, before it serves."""
    replica = f"{address}&options=-c%20default_transaction_read_only%3Don"
    with pytest.raises(StoreUnavailable, match="read-only"):
        open_database(Address(replica))

    async def main() -> None:
        reader = open_to_read(Address(replica))
        assert await reader.table.get(H) is None
        await reader.table.close()

    asyncio.run(main())
    assert opening.check(rest_of(replica))  # says what does not fit


def test_a_statement_that_takes_too_long_is_an_outage(address: str) -> None:
    """`statement_timeout` and a lock that a person holds: the write may be repeated."""

    async def main() -> None:
        slow = f"{address}&options=-c%20statement_timeout%3D100"
        async with opened(slow) as [table]:
            await table.put(H, HEADER)
            with cluster().connected() as connection, connection.transaction():
                name = place_of(rest_of(address)).schema
                connection.execute(f'LOCK TABLE "{name}".items')
                with pytest.raises(StoreUnavailable, match="statement timeout"):
                    await table.get(H)
            assert (await table.update(H, add={"epoch": 1})).ok

    asyncio.run(main())


def test_what_somebody_locks_holds_up_nothing_else(address: str) -> None:
    """An item that a person's transaction holds fails alone; all that shared its flight is done."""

    async def main() -> None:
        async with opened(address) as [table]:
            await table.put(H, HEADER)
            await table.put(OPERATION, Operation("1", "a", Kind.TASK))
            with cluster().connected() as connection, connection.transaction():
                name = place_of(rest_of(address)).schema
                connection.execute(f"SELECT FROM \"{name}\".items WHERE sort = 'H' FOR UPDATE")
                held = table.update(H, add={"epoch": 1})
                others = [table.update(OPERATION, add={"attempts": 1}) for _ in range(20)]
                found = await asyncio.gather(held, *others, return_exceptions=True)
            assert isinstance(found[0], StoreUnavailable)
            assert (await table.get(OPERATION)).attempts == 20
            assert (await table.get(H)).epoch == 0

    asyncio.run(main())


def test_a_server_that_hangs_is_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A statement that is not answered in time fails, and the table goes on after it."""
    monkeypatch.setattr(connecting, "PATIENCE", 0.2)

    async def main() -> None:
        async with opened(address) as [table]:
            await table.put(H, HEADER)
            with cluster().connected() as connection, connection.transaction():
                name = place_of(rest_of(address)).schema
                connection.execute(f'LOCK TABLE "{name}".items')
                with pytest.raises(StoreUnavailable, match="does not answer"):
                    await table.get(H)
            assert await table.get(H) == HEADER

    asyncio.run(main())


def test_a_commit_is_durable_whatever_the_server_says(address: str) -> None:
    """Where commits need not be on disk (`synchronous_commit = off`), those of ours are."""

    async def main() -> None:
        settings = f"{address}&options=-c%20synchronous_commit%3Doff"
        conninfo = place_of(rest_of(settings)).conninfo
        async with await psycopg.AsyncConnection.connect(conninfo) as connection:
            asked = "SHOW synchronous_commit"
            assert await (await connection.execute(asked)).fetchone() == ("off",)
            table = JoinedTable(connection, place_of(rest_of(address)).schema)
            await table.put(H, HEADER)
            assert await (await connection.execute(asked)).fetchone() == ("on",)
            assert await (await connection.execute("SHOW lock_timeout")).fetchone() == ("0",)
            await connection.commit()
            assert await (await connection.execute(asked)).fetchone() == ("off",)

    asyncio.run(main())


def test_at_most_so_many_connections(address: str) -> None:
    """However much is asked at once, an event loop has a few connections, and closes them."""

    def sessions() -> int:
        with cluster().connected() as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()",
                [f"%{place_of(rest_of(address)).schema}%"],
            ).fetchall()
            return len(rows)

    async def main() -> None:
        async with opened(address) as [table]:
            await table.put(H, HEADER)
            await asyncio.gather(*(table.get(H) for _ in range(100)))
            assert 0 < sessions() <= line.READERS + 1

    asyncio.run(main())


def test_a_child_does_not_have_its_connections(address: str) -> None:
    """What a forked child does with the table harms nobody: it has none of its connections."""

    async def main() -> None:
        before = set(sockets())
        async with opened(address) as [table]:
            heard = asyncio.Event()
            listening = asyncio.create_task(table.listen(heard.set))
            await heard.wait()
            await table.put(H, HEADER)
            await table.get(H)
            held = table.after_fork()
            assert set(sockets()) - before == set(held)  # one that it listens by, too
            child = multiprocessing.get_context("fork").Process(target=_compare, args=(held,))
            child.start()
            await asyncio.to_thread(child.join)
            assert child.exitcode == 0
            assert (await table.update(H, add={"epoch": 1})).ok
            listening.cancel()
            await asyncio.wait([listening])
            assert set(table.after_fork()) < set(held)

    asyncio.run(main())


def sockets() -> Iterator[int]:
    """The numbers under which this process has connections to the server open."""
    for number in (int(each.name) for each in Path("/dev/fd").iterdir()):
        with contextlib.suppress(OSError):  # the one that lists them, or that nobody answers
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                with socket.socket(fileno=os.dup(number)) as found:
                    if found.getpeername()[1:] == (cluster().port,):
                        yield number


def _compare(held: list[int]) -> None:
    null = Path(os.devnull).stat()
    assert held
    assert all(os.fstat(each).st_rdev == null.st_rdev for each in held)


# --- making it -----------------------------------------------------------------------------------


def test_several_may_make_it_at_once() -> None:
    """Of concurrent creates each comes right, and what is missing is made once."""
    address = cluster().address(f"t_{secrets.token_hex(6)}")
    made: list[list[str]] = []
    threads = [
        threading.Thread(target=lambda: made.append(opening.create(rest_of(address))))
        for _ in range(6)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sorted(map(len, made)) == [0, 0, 0, 0, 0, 2]
    opening.open_table(rest_of(address))


def test_what_does_not_fit_is_refused(address: str) -> None:
    """A schema that is missing, another program's, older or newer: one line says what to do."""
    name = place_of(rest_of(address)).schema
    missing = cluster().address("t_missing")
    with pytest.raises(StoreUnsuitable, match=r"no tables of Rewake in .*: run `rewake tables cre"):
        open_database(Address(missing))
    with cluster().connected() as connection:
        connection.execute(f'INSERT INTO "{name}".layout (version) VALUES (99)')
        for act in (opening.open_table, opening.create, opening.check):
            with pytest.raises(StoreUnsuitable, match=r"newer Rewake \(layout 99\)"):
                act(rest_of(address))
        connection.execute(f'DELETE FROM "{name}".layout')
        with pytest.raises(StoreUnsuitable, match=r"has layout 0, and this Rewake needs"):
            opening.open_table(rest_of(address))
        connection.execute(f'DROP TABLE "{name}".layout')
        with pytest.raises(StoreUnsuitable, match="belongs to another program"):
            opening.create(rest_of(address))


def test_check_says_what_of_the_server_does_not_fit(address: str) -> None:
    """A server that may lose what it acknowledged is named: these tests have one."""
    assert opening.check(rest_of(address)) == [
        f"the server has {name} = off: a power cut may damage it" for name, _ in schema._HARMFUL
    ]


WRONG = [
    (f"postgresql://rewake:{PASSWORD}x@127.0.0.1:PORT/postgres", StoreUnsuitable),
    (f"postgresql://rewake:{PASSWORD}@127.0.0.1:PORT/nowhere", StoreUnsuitable),
    (f"postgresql://rewake:{PASSWORD}@127.0.0.1:1/postgres", StoreUnavailable),
    (f"postgresql://rewake:{PASSWORD}%zz@127.0.0.1:PORT/postgres", ConfigError),
    (f"postgresql://127.0.0.1:PORT/postgres?user=rewake&password={PASSWORD}x", StoreUnsuitable),
    (f"postgresql://rewake:{PASSWORD}@127.0.0.1:PORT/postgres?schema=No-Such", ConfigError),
    (f"postgresql://rewake:{PASSWORD}@127.0.0.1:PORT/postgres?unheard={PASSWORD}", ConfigError),
    (f"postgresql:{PASSWORD}", ConfigError),
    (f"postgres://rewake:{PASSWORD}@[::1/postgres", ConfigError),
]


@pytest.mark.parametrize(("wrong", "kind"), WRONG)
def test_a_wrong_address_is_told_without_its_password(wrong: str, kind: type[Exception]) -> None:
    """Each is one line of the right kind, and the password is in none of it, nor in the address."""
    address = Address(wrong.replace("PORT", str(cluster().port)))
    with pytest.raises(kind) as caught:
        asyncio.run(create_database(address))
    assert PASSWORD not in str(caught.value)
    assert "\n" not in str(caught.value)
    if "//" in wrong and "[" not in wrong:
        assert PASSWORD not in str(address)
    with pytest.raises(ConfigError, match="REWAKE_BLOBS is for others"):
        open_database(Address(address.db, "s3://bucket"))


# --- notices -------------------------------------------------------------------------------------


def test_what_is_due_at_once_is_heard_by_others(address: str) -> None:
    """Another process hears of what is due now, and neither of what is due later nor of its own."""

    async def main() -> None:
        async with opened(address, address) as [one, other]:
            heard: asyncio.Queue[str] = asyncio.Queue()
            listening = [
                asyncio.create_task(each.listen(partial(heard.put_nowait, name)))
                for name, each in (("one", one), ("other", other))
            ]
            # Once each, for what came before.
            assert {await heard.get(), await heard.get()} == {"one", "other"}
            await one.put(OPERATION, Operation("1", "a", Kind.TASK, due=2**50))
            await one.put(H, Header("1", "main", 1, seed=7, runtime=1, due=5))
            assert await asyncio.wait_for(heard.get(), 5) == "other"
            await one.delete([OPERATION])
            for each in listening:
                each.cancel()
            await asyncio.wait(listening)
            assert heard.empty()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("rest", "told"),
    [
        ("//u:p%40w@h/db?schema=a", "h/db?schema=a"),
        ("//u:p#w@h:5/db", "h:5/db?schema=rewake"),
        ("//h1:1,h2:2/db", "h1:1,h2:2/db?schema=rewake"),
        ("///db", "/db?schema=rewake"),
        ("///?service=shop", "/shop?schema=rewake"),
        ("//", "/?schema=rewake"),
    ],
)
def test_a_place_is_told_by_its_host_and_port(rest: str, told: str) -> None:
    """Any address of libpq's is understood, one of a socket or a service too, and told in short."""
    assert str(place_of(rest)) == f"postgresql://{told}"


def test_a_plus_in_the_query_of_an_address_is_one() -> None:
    """A password, or the path of a certificate, is what libpq takes it for."""
    given = conninfo_to_dict(place_of("//h/db?password=a+b%2B%20c&schema=a").conninfo)
    assert given["password"] == "a+b+ c"

"""Starting runs in a transaction of the user's own: both commit, or neither."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import (
    AsyncConnection,
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import Session, sessionmaker

from rewake import AsyncClient, Client, callback, task, workflow
from rewake.errors import (
    ConfigError,
    InvalidInput,
    RunConflict,
    StoreUnavailable,
    StoreUnsuitable,
    UsageError,
)
from rewake.hosts.databases import Address, open_database
from rewake.records import Header
from rewake.states import RunState
from rewake.stores.postgres import opening
from rewake.stores.postgres.place import place_of
from rewake.stores.reads import Reads
from tests.support.postgres import cluster, needs_postgres, rest_of
from tests.support.server import SECRET, TOKEN, ServerProcess

pytestmark = needs_postgres


@dataclass
class Order:
    """What the workflow takes."""

    number: int
    note: str = ""


@workflow
async def pay(order: Order, times: int = 1) -> str:
    """Never run by these tests, but by the one with a server."""
    return f"{type(order).__name__} {order.number * times}"


@task
def hand_on(url: str, file: str) -> None:
    """Tell the test where to call."""
    part = Path(f"{file}.part")
    part.write_text(url)
    part.rename(file)


@workflow
async def wait_for_payment(file: str) -> str:
    """Wait for whoever calls back."""
    paid = callback("paid")
    await hand_on(paid.url, file)
    return f"paid {await paid}"


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A schema with tables, and a table of the user's beside them."""
    with cluster().schema() as made, cluster().connected() as connection:
        connection.execute(f"CREATE TABLE {orders_of(made)} (number integer)")
        monkeypatch.setenv("REWAKE_DB", made)
        monkeypatch.setenv("REWAKE_SECRET", SECRET)
        yield made


def orders_of(address: str) -> str:
    """The table of the user's, which is beside Rewake's for once, so that it goes with it."""
    return f'"{address.rpartition("=")[2]}".orders'


def plain(address: str, scheme: str = "postgresql") -> str:
    """The address of the database, without what is Rewake's."""
    return f"{scheme}{address.partition('?')[0].removeprefix('postgresql')}"


def there(address: str, run: str) -> tuple[Header | None, int]:
    """The run, and how many orders there are."""

    async def main() -> Header | None:
        table, shelf = open_database(Address(address))
        try:
            return await Reads(table, shelf).find(run)
        finally:
            await table.close()

    with cluster().connected() as connection:
        orders = connection.execute(f"SELECT number FROM {orders_of(address)}").fetchall()
    return asyncio.run(main()), len(orders)


def inserting(address: str) -> str:
    """The statement of the user's own."""
    return f"INSERT INTO {orders_of(address)} VALUES (1)"


@contextmanager
def by_psycopg(address: str, *, commits: bool) -> Iterator[Any]:
    with psycopg.connect(plain(address), row_factory=dict_row) as connection:
        connection.execute(inserting(address))
        yield connection
        connection.commit() if commits else connection.rollback()


@contextmanager
def by_cursors_of_clients(address: str, *, commits: bool) -> Iterator[Any]:
    """As Django does: what a cursor of this connection sends has no values beside it."""
    made = psycopg.connect(plain(address), cursor_factory=psycopg.ClientCursor)
    with made as connection:
        connection.execute(inserting(address))
        yield connection
        connection.commit() if commits else connection.rollback()


@contextmanager
def by_sqlalchemy(address: str, *, commits: bool) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(plain(address, "postgresql+psycopg"))
    with engine.connect() as connection:
        yield connection
        connection.execute(sqlalchemy.text(inserting(address)))
        connection.commit() if commits else connection.rollback()
    engine.dispose()


@contextmanager
def by_session(address: str, *, commits: bool) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(plain(address, "postgresql+psycopg"))
    with Session(engine) as session:
        yield session
        session.execute(sqlalchemy.text(inserting(address)))
        session.commit() if commits else session.rollback()
    engine.dispose()


@asynccontextmanager
async def by_async_psycopg(address: str, *, commits: bool) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(plain(address)) as connection:
        await connection.execute(inserting(address))
        yield connection
        await (connection.commit() if commits else connection.rollback())


@asynccontextmanager
async def by_raw_cursors(address: str, *, commits: bool) -> AsyncIterator[Any]:
    """Whose statements have `$1` for their values, and not `%s`."""
    raw = psycopg.AsyncRawCursor
    made = await psycopg.AsyncConnection.connect(plain(address), cursor_factory=raw)
    async with made as connection:
        await connection.execute(inserting(address))
        yield connection
        await (connection.commit() if commits else connection.rollback())


@asynccontextmanager
async def by_asyncpg(address: str, *, commits: bool) -> AsyncIterator[Any]:
    connection = await asyncpg.connect(plain(address))
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await connection.execute(inserting(address))
    await (transaction.commit() if commits else transaction.rollback())
    await connection.close()


@asynccontextmanager
async def by_async_session(address: str, *, commits: bool) -> AsyncIterator[Any]:
    engine = create_async_engine(plain(address, "postgresql+asyncpg"))
    async with AsyncSession(engine) as session:
        yield session
        await session.execute(sqlalchemy.text(inserting(address)))
        await (session.commit() if commits else session.rollback())
    await engine.dispose()


class OwnSession(AsyncSession):
    """What a program derives for itself."""


async def connected(engine: AsyncEngine) -> AsyncConnection:
    return await engine.connect()


async def own_session(engine: AsyncEngine) -> AsyncSession:
    return OwnSession(engine)


async def scoped_session(engine: AsyncEngine) -> async_scoped_session[AsyncSession]:
    return async_scoped_session(async_sessionmaker(engine), asyncio.current_task)


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("opened", [by_psycopg, by_cursors_of_clients, by_sqlalchemy, by_session])
def test_it_commits_with_the_user_s_data(
    address: str, opened: Callable[..., Any], commits: bool
) -> None:
    """By each connection that blocks: before the commit nobody sees it, then both or neither."""
    with Client() as client, opened(address, commits=commits) as connection:
        run = client.with_options(connection=connection).start(pay, Order(7), times=3)
        assert run.is_new
        again = client.with_options(connection=connection, id=run.id).start(pay, Order(7), times=3)
        assert (again.id, again.is_new) == (run.id, False)
        assert there(address, run.id) == (None, 0)
    header, orders = there(address, run.id)
    assert orders == int(commits)
    assert (header is not None) is commits
    if header is not None:
        assert (header.state, header.owner, header.workflow) == (RunState.READY, "", "pay")
        assert header.due is not None
        assert 0 <= header.due - header.created < 1000


@pytest.mark.parametrize("commits", [True, False])
@pytest.mark.parametrize("opened", [by_async_psycopg, by_raw_cursors, by_asyncpg, by_async_session])
def test_it_commits_with_the_user_s_data_in_an_event_loop(
    address: str, opened: Callable[..., Any], commits: bool
) -> None:
    """By each connection of an event loop, the same."""

    async def main() -> str:
        async with AsyncClient() as client, opened(address, commits=commits) as connection:
            options = client.with_options(connection=connection, key="order 7")
            run = await options.start(pay, Order(7))
            assert run.is_new
            assert not (await options.start(pay, Order(7))).is_new
            with pytest.raises(RunConflict, match="with other arguments"):
                await options.start(pay, Order(8))
            return str(run.id)

    run = asyncio.run(main())
    header, orders = there(address, run)
    assert (header is not None, orders) == (commits, int(commits))


@pytest.mark.parametrize("opened", [connected, own_session, scoped_session])
@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_what_sqlalchemy_opens_in_an_event_loop_is_joined(
    address: str, driver: str, opened: Callable[[AsyncEngine], Awaitable[Any]]
) -> None:
    """A connection, a session of a class of the user's own and a scoped one, of each driver."""

    async def main(ends: str) -> str:
        engine = create_async_engine(plain(address, f"postgresql+{driver}"))
        joined = await opened(engine)
        async with AsyncClient() as client:
            run = await client.with_options(connection=joined).start(pay, Order(7))
        await getattr(joined, ends)()
        await joined.close()
        await engine.dispose()
        return str(run.id)

    for ends in ("commit", "rollback"):
        assert (there(address, asyncio.run(main(ends)))[0] is None) is (ends == "rollback")


def test_what_cannot_be_joined_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line says what is wrong, and the transaction goes on where there is one."""
    with Client() as client, psycopg.connect(plain(address)) as connection:
        joined = client.with_options(connection=connection)
        with pytest.raises(UsageError, match="connection= takes one of psycopg"):
            client.with_options(connection="postgresql://").start(pay, Order(1))
        with pytest.raises(UsageError, match="needs the workflow itself"):
            client.start("pay", {}, connection=connection)
        with pytest.raises(UsageError, match="'pay' is no workflow: by a name, say"):
            joined.start("pay", {"order": 1})  # type: ignore[arg-type]
        with pytest.raises(UsageError, match="waits for nothing"):
            client.with_options(connection=connection, wait=3).start(pay, Order(1))
        with pytest.raises(InvalidInput):
            joined.start(pay, "no order")  # type: ignore[arg-type]
        connection.execute(inserting(address))
        joined.start(pay, Order(1))
        connection.commit()
        with psycopg.connect(plain(address), autocommit=True) as alone:
            lonely = client.with_options(connection=alone)
            with pytest.raises(UsageError, match="in no transaction"):
                lonely.start(pay, Order(1))
            with alone.pipeline():
                alone.execute("SELECT 1")
                with pytest.raises(UsageError, match=r"sync its pipeline|in no transaction"):
                    lonely.start(pay, Order(1))
            with alone.transaction():
                assert lonely.start(pay, Order(1)).is_new
        monkeypatch.setenv("REWAKE_DB", cluster().address("t_missing"))
        with pytest.raises(StoreUnsuitable, match="tables create"), connection.transaction():
            joined.start(pay, Order(1))
        for other in ("", "shop.db"):
            monkeypatch.setenv("REWAKE_DB", other)
            with pytest.raises(ConfigError, match="set REWAKE_DB to its address"):
                joined.start(pay, Order(1))
        monkeypatch.delenv("REWAKE_SECRET")
        with pytest.raises(ConfigError, match="REWAKE_SECRET"):
            joined.start(pay, Order(1))

    async def main() -> None:
        asynchronous = await psycopg.AsyncConnection.connect(plain(address))
        with Client() as client, pytest.raises(UsageError, match="give an AsyncClient this one"):
            client.with_options(connection=asynchronous).start(pay, Order(1))
        await asynchronous.close()

    monkeypatch.setenv("REWAKE_SECRET", SECRET)
    monkeypatch.setenv("REWAKE_DB", address)
    asyncio.run(main())


def test_what_makes_connections_is_none(address: str) -> None:
    """An engine, a pool, and a session of another database: each is told what is wanted."""
    engine = sqlalchemy.create_engine(plain(address, "postgresql+psycopg"))
    made = (engine, sessionmaker(engine), Session(sqlalchemy.create_engine("sqlite://")))

    async def main() -> None:
        async with AsyncClient() as client, asyncpg.create_pool(plain(address)) as pool:
            with pytest.raises(UsageError, match="and not Pool"):
                await client.with_options(connection=pool).start(pay, Order(1))

    with Client() as client:
        for each, told in zip(made, ("Engine", "sessionmaker", "one of sqlite"), strict=True):
            with pytest.raises(UsageError, match=f"asyncpg or SQLAlchemy, and not {told}"):
                client.with_options(connection=each).start(pay, Order(1))
    made[2].close()
    engine.dispose()
    asyncio.run(main())


def test_an_engine_that_commits_each_statement_is_refused(address: str) -> None:
    """A connection of it, or a session, does not say so itself: the run would begin at once."""
    each = {"isolation_level": "AUTOCOMMIT"}
    made = sqlalchemy.create_engine(plain(address, "postgresql+psycopg"), **each)
    other = sqlalchemy.create_engine(plain(address, "postgresql+psycopg"))
    with (
        Client() as client,
        made.connect() as connection,
        Session(other.execution_options(**each)) as session,
    ):
        for joined in (connection, session):
            with pytest.raises(UsageError, match="in no transaction"):
                client.with_options(connection=joined).start(pay, Order(1))

    async def main() -> None:
        engine = create_async_engine(plain(address, "postgresql+asyncpg"), **each)
        opened = engine.connect()
        async with AsyncClient() as client, AsyncSession(engine) as session, opened as connection:
            for joined in (session, connection):
                with pytest.raises(UsageError, match="in no transaction"):
                    await client.with_options(connection=joined).start(pay, Order(1))
        await engine.dispose()

    asyncio.run(main())
    made.dispose()
    other.dispose()


def test_the_reason_is_told_and_not_what_follows_of_it(address: str) -> None:
    """After an error a transaction refuses everything: whoever asked is told of the error."""
    items = f'"{place_of(rest_of(address)).schema}".items'
    with Client() as client, psycopg.connect(plain(address)) as other:
        other.execute(f"LOCK TABLE {items} IN SHARE MODE")  # it is read, and not written
        with psycopg.connect(plain(address)) as connection:
            connection.execute(inserting(address))
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                client.with_options(connection=connection).start(pay, Order(1))


def test_what_another_transaction_starts_is_not_waited_for_until_that_ends(address: str) -> None:
    """Nor are large arguments, which are kept apart: it is told after a quarter of a second."""
    with Client() as client, psycopg.connect(plain(address)) as other:
        large = Order(1, "x" * 100_000)
        client.with_options(connection=other, id="large").start(pay, large)
        with psycopg.connect(plain(address)) as connection:
            connection.execute("SET LOCAL statement_timeout = '5s'")
            with pytest.raises(StoreUnavailable, match="lock timeout"):
                client.with_options(connection=connection, id="large").start(pay, large)


def test_servers_hear_of_it_with_the_commit(address: str) -> None:
    """A table that listens is told at the commit, not before, and never of what is rolled back."""

    async def main() -> None:
        table, heard = opening.open_table(rest_of(address)), asyncio.Event()
        listening = asyncio.create_task(table.listen(heard.set))
        await heard.wait()  # it listens
        async with AsyncClient() as client:
            for commits in (False, True):
                heard.clear()
                async with by_asyncpg(address, commits=commits) as connection:
                    await client.with_options(connection=connection).start(pay, Order(1))
                    await asyncio.sleep(0.1)
                    assert not heard.is_set()
                if commits:
                    await asyncio.wait_for(heard.wait(), 5)
        listening.cancel()
        await asyncio.wait([listening])
        await table.close()

    asyncio.run(main())


def test_a_server_carries_it_out(address: str) -> None:
    """A run that was started so is begun and ended by a server, and its result is of its type."""
    with ServerProcess(__file__, address) as server, Client(server.url, TOKEN) as client:
        with psycopg.connect(plain(address)) as connection:
            run = client.with_options(connection=connection).start(pay, Order(7), times=3)
        assert run.result(20) == "Order 21"


def test_a_callback_is_called_in_a_transaction(address: str, tmp_path: Path) -> None:
    """What is rolled back was never called; what is committed is heard by the server."""
    file = tmp_path / "url"
    with (
        ServerProcess(__file__, address, url="https://app.example") as server,
        Client(server.url, TOKEN) as client,
        psycopg.connect(plain(address)) as connection,
    ):
        run = client.start(wait_for_payment, str(file))
        deadline = time.monotonic() + 20
        while not file.exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        url = file.read_text()
        assert client.fail(url, "Refused", "no", connection=connection) == {"state": "failed"}
        connection.rollback()
        assert client.complete(url, 7, connection=connection) == {"state": "completed"}
        assert client.get(run.id)["state"] != "done"
        connection.commit()
        assert run.result(20) == "paid 7"
        with pytest.raises(RunConflict), connection.transaction():
            client.complete(url, 8, connection=connection)

"""A table whose writes are part of a transaction of a user's own.

Nothing of a connection is changed: it is handed the same statements that a table of ours carries
out, and what it is asked for is there, or gone, with all else that its transaction did. A notice
that something is due goes with the commit.

Known are the connections of psycopg and asyncpg, and of SQLAlchemy on either.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from rewake.clock import SystemClock
from rewake.errors import StoreError, UsageError
from rewake.stores.postgres.faults import kind_of, said
from rewake.stores.postgres.flight import Job, fly
from rewake.stores.postgres.known import Known
from rewake.stores.postgres.notices import NOTIFY, channel_of, is_due
from rewake.stores.postgres.place import Place
from rewake.stores.postgres.rows import Execute, Rows
from rewake.stores.postgres.table import PostgresTable

_Asked = Callable[[str, Sequence[Any]], Awaitable[list[tuple[Any, ...]]]]
_PLACEHOLDER = re.compile("%s")
_NO_TRANSACTION = "the connection is in no transaction: begin one, so that both commit together"
_UNDER_WAY = "the connection is carrying something out: await it, or sync its pipeline, before this"
_FOREIGN = "connection= takes one of psycopg 3, asyncpg or SQLAlchemy, and not"


class JoinedTable(PostgresTable):
    """The table of a schema, as one connection of a user's sees it. Closing it does nothing.

    Raises `UsageError` for a connection that is none, or is in no transaction.
    """

    def __init__(self, connection: Any, schema: str) -> None:
        super().__init__(Place("", schema))
        self._joined = _JoinedLine(self, schema, _execute(connection))

    def _line(self) -> _JoinedLine:  # type: ignore[override]
        return self._joined

    async def close(self) -> None:
        """The connection is its user's."""


class _JoinedLine:
    """What `Line` is, for one caller, by a connection that is somebody's."""

    def __init__(self, table: object, schema: str, execute: _Asked) -> None:
        self.reads = self.inner = Rows(schema, _told(execute))
        self._channel = channel_of(schema)
        self._execute = execute
        self._table = table

    async def run(self, job: Job) -> Any:
        """Do a job."""
        rows = await fly(self._table, [job], self.inner, Known())
        if is_due(rows, SystemClock().now()):
            await self._execute(NOTIFY, (self._channel, ""))
        if job.error is not None:
            raise job.error
        return job.value


def _told(execute: _Asked) -> Execute:
    """The same, with errors of any driver as ours.

    After the first one the transaction is lost, and all that is tried then fails for its reason.
    """
    reason: StoreError | None = None

    async def carried_out(statement: str, values: Sequence[Any], **_: int) -> list[tuple[Any, ...]]:
        nonlocal reason
        if reason is not None:
            raise type(reason)(str(reason)) from reason
        try:
            return await execute(statement, values)
        except Exception as error:
            cause = getattr(error, "orig", None) or error  # SQLAlchemy's around a driver's
            state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
            if state is None:
                raise
            reason = kind_of(state)(said(state, " ".join(str(cause).split())))
            raise reason from error

    return carried_out


def _execute(connection: Any) -> _Asked:
    """How a statement is carried out by a connection of any kind that is known."""
    kinds = {base.__module__.partition(".")[0] for base in type(connection).__mro__}
    for name, make in _MAKERS.items():
        if name in kinds:
            return make(connection)
    raise _foreign(connection)


def _foreign(connection: Any) -> UsageError:
    return UsageError(f"{_FOREIGN} {type(connection).__qualname__}")


def _of_psycopg(connection: Any) -> _Asked:
    import psycopg  # noqa: PLC0415 - its user has it
    from psycopg.rows import tuple_row  # noqa: PLC0415

    if not isinstance(connection, psycopg.Connection | psycopg.AsyncConnection):
        raise _foreign(connection)
    status, known = connection.info.transaction_status, psycopg.pq.TransactionStatus
    if connection.autocommit and status == known.IDLE:
        raise UsageError(_NO_TRANSACTION)
    if connection.autocommit and status == known.ACTIVE:  # in one or in none: nobody can tell
        raise UsageError(_UNDER_WAY)
    # The cursors that it makes itself may be of a kind that takes neither binary nor `%s`.
    if isinstance(connection, psycopg.Connection):

        async def blocking(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
            with psycopg.Cursor(connection, row_factory=tuple_row) as cursor:
                return cursor.execute(statement, values, binary=True).fetchall()

        return blocking

    async def execute(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(statement, values, binary=True)
            return await cursor.fetchall()

    return execute


def _of_asyncpg(connection: Any) -> _Asked:
    if not hasattr(connection, "is_in_transaction"):  # a pool of them
        raise _foreign(connection)
    if not connection.is_in_transaction():
        raise UsageError(_NO_TRANSACTION)

    async def execute(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await connection.fetch(_numbered(statement), *values)]

    return execute


def _of_sqlalchemy(connection: Any) -> _Asked:
    """Of a connection or a session: what it executes begins its transaction."""
    # Of a class of the user's own it is a base that says so; and one begins with a small letter.
    asynchronous = any(each.__name__.lower().startswith("async") for each in _bases_of(connection))
    options: dict[str, Any] = getattr(connection, "get_execution_options", dict)()
    if options.get("isolation_level") == "AUTOCOMMIT":
        raise UsageError(_NO_TRANSACTION)
    is_session = hasattr(connection, "add_all")
    if not is_session and not hasattr(connection, "exec_driver_sql"):  # an engine
        raise _foreign(connection)

    async def execute(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        # A connection has an attribute of that name too: the driver's, or one that raises.
        joined = connection.connection() if is_session else connection
        if is_session and asynchronous:
            joined = await joined
        if joined.dialect.name != "postgresql":
            raise UsageError(f"{_FOREIGN} one of {joined.dialect.name}")
        # An engine may be so as a whole, and what a session has is known only now.
        driven = getattr(getattr(joined, "sync_connection", joined), "connection", None)
        if getattr(driven, "autocommit", False):
            raise UsageError(_NO_TRANSACTION)
        asked = _numbered(statement) if joined.dialect.driver == "asyncpg" else statement
        carrying_out = joined.exec_driver_sql(asked, tuple(values))
        found = await carrying_out if asynchronous else carrying_out
        return [tuple(row) for row in found]

    return execute


def _bases_of(connection: Any) -> list[type]:
    """What of SQLAlchemy's own it is."""
    return [base for base in type(connection).__mro__ if base.__module__.startswith("sqlalchemy.")]


_MAKERS: dict[str, Callable[[Any], _Asked]] = {
    "psycopg": _of_psycopg,
    "asyncpg": _of_asyncpg,
    "sqlalchemy": _of_sqlalchemy,
}


def _numbered(statement: str) -> str:
    """The statement with `$1`, `$2` and so on for its values."""
    count = iter(range(1, 100))
    return _PLACEHOLDER.sub(lambda _: f"${next(count)}", statement)


def carried_out_at_once(work: Awaitable[Any]) -> Any:
    """What a coroutine comes to that waits for nothing: by a connection that blocks."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as end:
        return end.value
    steps.close()
    raise UsageError("a Client takes a connection that blocks: give an AsyncClient this one")

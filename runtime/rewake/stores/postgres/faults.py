"""What PostgreSQL's errors mean to whoever uses a table."""

from __future__ import annotations

import re
from collections.abc import Mapping

import psycopg

from rewake.errors import StoreError, StoreFull, StoreUnavailable, StoreUnsuitable

CREATE = "run `rewake tables create`"

_KINDS: Mapping[str, type[StoreError]] = {
    "08": StoreUnavailable,  # the connection
    "25": StoreUnavailable,  # a replica that only reads, after a failover perhaps
    "40": StoreUnavailable,  # deadlocks, serialization
    "53": StoreUnavailable,  # too many connections, memory
    "53100": StoreFull,
    "55": StoreUnavailable,  # locks that are not to be had
    "57": StoreUnavailable,  # shutdown, restart, a statement that takes too long
    "58": StoreUnavailable,  # the machine's input and output
    "28": StoreUnsuitable,  # who asks is not known
    "3D": StoreUnsuitable,  # no such database
    "3F": StoreUnsuitable,  # no such schema
    "42P01": StoreUnsuitable,  # no such table
    "42883": StoreUnsuitable,  # no such function
    "42501": StoreUnsuitable,  # not allowed
}
"""By the SQLSTATE of an error, or by the class that it begins with."""
_REFUSED = re.compile(
    r'authentication failed|no password supplied|(role|database) ".*" does not exist|pg_hba\.conf'
)
"""In the text of a connection that was refused for good: libpq keeps the SQLSTATE to itself."""
_MISSING = ("3F000", "42P01", "42883")
_UNDONE = ("40001", "40P01")


def translated(error: psycopg.Error, where: str = "") -> StoreError:
    """Rewake's error for one of the driver's. `where`: told first."""
    state = error.sqlstate
    told = " ".join(str(error).split()) or type(error).__name__
    kind: type[StoreError] = StoreError
    if state is not None:
        kind = kind_of(state)
    elif _is_of_connection(error):
        kind = StoreUnsuitable if _REFUSED.search(told) else StoreUnavailable
    told = said(state, told)
    made = kind(f"{where}: {told}" if where else told)
    made.__cause__ = error
    return made


def said(state: str | None, told: str) -> str:
    """What people are told of an SQLSTATE and its text: of tables that are missing, what to do."""
    return f"the tables of Rewake are not there: {CREATE} ({told})" if state in _MISSING else told


def kind_of(state: str) -> type[StoreError]:
    """What an SQLSTATE means."""
    return _KINDS.get(state) or _KINDS.get(state[:2]) or StoreError


def while_open(error: psycopg.Error) -> StoreError:
    """The same once the database has been found suitable: what it has lost may come back."""
    told = translated(error)
    if not isinstance(told, StoreUnsuitable):
        return told
    passing = StoreUnavailable(str(told))
    passing.__cause__ = error
    return passing


def _is_of_connection(error: psycopg.Error) -> bool:
    return isinstance(error, psycopg.OperationalError | psycopg.InterfaceError)


def is_locked(error: BaseException) -> bool:
    """Whether a translated error says that somebody holds what was to be written, for long."""
    cause = error.__cause__
    return isinstance(cause, psycopg.Error) and cause.sqlstate == "55P03"


def is_undone(error: psycopg.Error) -> bool:
    """Whether the statement certainly changed nothing, and may work the next time."""
    return error.sqlstate in _UNDONE


def is_lost(error: BaseException) -> bool:
    """Whether a translated error says that the connection broke: nobody knows what was done."""
    cause = error.__cause__
    if not isinstance(cause, psycopg.Error):
        return False
    state = cause.sqlstate
    return _is_of_connection(cause) if state is None else state.startswith(("08", "57P"))

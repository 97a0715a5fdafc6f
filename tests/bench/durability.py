"""Proof that what is measured is durable: every connection to SQLite is watched from its birth."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable
from typing import Any

_FULL = 2
_connections: list[sqlite3.Connection] = []


def watch() -> None:
    """Notice each connection that this process makes from now on."""
    sys.addaudithook(_notice)


def connections() -> list[sqlite3.Connection]:
    """Those that are open."""
    _connections[:] = [each for each in _connections if _is_open(each)]
    return list(_connections)


def settings() -> list[list[str | int]]:
    """Journal mode and `synchronous` of every open connection."""
    return settings_of(connections())


def settings_of(connections: Iterable[sqlite3.Connection]) -> list[list[str | int]]:
    """Journal mode and `synchronous` of these connections."""
    return [[_ask(each, "journal_mode"), _ask(each, "synchronous")] for each in connections]


def demand(found: list[list[str | int]]) -> None:
    """Raise unless each of these connections syncs at each commit."""
    if not found:
        raise AssertionError("no connection was seen: nothing shows that commits are durable")
    if any(setting != ["wal", _FULL] for setting in found):
        raise AssertionError(f"measured without full durability: {found}")


def _notice(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "sqlite3.connect/handle":
        _connections.append(arguments[0])


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        connection.total_changes  # noqa: B018
    except sqlite3.ProgrammingError:
        return False
    return True


def _ask(connection: sqlite3.Connection, pragma: str) -> Any:
    return connection.execute(f"PRAGMA {pragma}").fetchone()[0]

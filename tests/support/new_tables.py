"""New, empty tables of each kind, by its name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rewake.stores.memory import MemoryTable
from rewake.stores.postgres.place import place_of
from rewake.stores.postgres.table import PostgresTable
from rewake.stores.sqlite.table import SqliteTable
from tests.support.postgres import emptied_schema, needs_postgres, rest_of
from tests.support.stores import Sealed, WholeTable

POSTGRES = [
    pytest.param(kind, marks=needs_postgres) for kind in ("postgres", "postgres-unthreaded")
]
"""The kinds that need a server, which are skipped where none is installed."""


@contextmanager
def new_table(kind: str) -> Iterator[WholeTable]:
    """A table of this kind, which whoever uses it closes."""
    threaded = not kind.endswith("-unthreaded")
    if kind.startswith("postgres"):
        with emptied_schema() as address:
            yield PostgresTable(place_of(rest_of(address)), threaded=threaded)
    elif kind.startswith("sqlite"):
        with tempfile.TemporaryDirectory() as folder:
            yield SqliteTable(Path(folder) / "rewake.db", threaded=threaded, durable=False)
    else:
        yield {"memory": MemoryTable, "sealed": Sealed}[kind]()

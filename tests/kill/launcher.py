"""A server as the environment says, which may die at a point."""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Iterator
from typing import Any

from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine import engine
from rewake.engine.settings import Settings
from rewake.hosts import building, databases, server
from rewake.stores.protocol import Store
from rewake.stores.shelf import Shelf
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Table
from tests.kill.points import counted
from tests.support.stores import WholeTable


def methods(protocol: type) -> Iterator[str]:
    """The names of its public async methods, inherited ones too."""
    for name, _ in inspect.getmembers(protocol, inspect.iscoroutinefunction):
        if not name.startswith("_"):
            yield name


def main() -> None:
    """Put counted parts in the place of the server's own, and serve."""
    parts = {
        "InProcessDispatcher": counted("dispatch", InProcessDispatcher, methods(Dispatcher)),
        "HttpDispatcher": counted("dispatch", HttpDispatcher, methods(Dispatcher)),
    }
    if grace := os.environ.get("REWAKE_TEST_GRACE"):
        vars(building)["Settings"] = functools.partial(Settings, grace=int(grace))
    vars(building).update(parts)
    vars(databases)["SqliteTable"] = counted("table", SqliteTable, methods(WholeTable))
    if os.environ["REWAKE_DB"].startswith("postgresql:"):
        from rewake.stores.postgres import opening  # noqa: PLC0415 - it needs a driver

        postgres: Any = vars(opening)
        postgres["PostgresTable"] = counted("table", postgres["PostgresTable"], methods(WholeTable))
    if os.environ["REWAKE_DB"].startswith("dynamodb:"):
        from rewake.hosts import dynamodb  # noqa: PLC0415 - it needs boto3

        its: Any = vars(dynamodb)
        its["BilledTable"] = counted("table", its["BilledTable"], methods(Table))
        its["S3Shelf"] = counted("table", its["S3Shelf"], methods(Shelf))
    vars(engine)["Store"] = counted("store", Store, methods(Store))
    server.main()

"""The one composition root: the parts of a server, each by its address.

    a database    path/to/file.db or sqlite:path/to/file.db    one file: items and large values
                  memory:                                      gone with the process: for tests
    a dispatcher  in-process                                   work stays in the process
                  http                                         to REWAKE_URL, any replica takes it

Another one is a row in a table here, and a module of its own. A dispatcher is also named in
`config.DISPATCHERS`; `open_existing` and `open_to_read` know no database but a file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from starlette.applications import Starlette

from rewake.app import App, load_app
from rewake.clock import Clock, SystemClock
from rewake.dispatchers.dispatcher import Dispatcher
from rewake.dispatchers.http import HttpDispatcher
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.engine.settings import Settings
from rewake.errors import ConfigError, StoreUnsuitable
from rewake.hosts.config import ServerConfig, make_home
from rewake.http.app import create_app
from rewake.http.load import Limits
from rewake.signing.secret import Secret
from rewake.stores.memory import MemoryTable
from rewake.stores.shelf import Shelf
from rewake.stores.sqlite.reader import SqliteReader
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Table

HOME = ".rewake"
"""The folder of an app's own files."""


class Database(NamedTuple):
    """A table for items, and a shelf for large values."""

    table: Table
    shelf: Shelf


# --- databases ---------------------------------------------------------------------------------


def _sqlite(place: str) -> Database:
    file = Path(place).expanduser()
    check_place(file)
    if file.parent.name == HOME:
        make_home(file.parent)
    if not file.exists():  # to open and close one that SQLite has open takes its locks away
        with suppress(OSError):  # SQLite says what is wrong
            # SQLite gives its log and its index the mode of the database.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    table = SqliteTable(file)
    return Database(table, table)


def check_place(file: Path) -> None:
    """Raise `ConfigError` if a database has no folder: its path may be mistyped.

    Only `.rewake` is made.
    """
    folder = file.parent.parent if file.parent.name == HOME else file.parent
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} for the database {file.name}: make it")


def _memory(place: str) -> Database:
    if place:
        raise ConfigError("memory: has no name")
    table = MemoryTable()
    return Database(table, table)


_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""What an address begins with that is no path; a path with a colon can begin with `./`."""

_DATABASES: Mapping[str, Callable[[str], Database]] = {"sqlite": _sqlite, "memory": _memory}


def open_database(address: str) -> Database:
    """The database at an address, which is made if there is none.

    Raises `ConfigError` for an address that is not understood, and `StoreError`.
    """
    scheme, place = _parts_of(address)
    return _DATABASES[scheme](place)


def open_existing(address: str) -> Database:
    """An existing database, by its address. Raises `StoreUnsuitable` if there is none."""
    file = file_of(address)
    if not Path(file).is_file():
        raise StoreUnsuitable(f"there is no database {file}")
    return _sqlite(file)


def open_to_read(address: str) -> SqliteReader:
    """A database of which no byte changes. Raises as `open_existing` does."""
    return SqliteReader(file_of(address))


def file_of(address: str) -> str:
    """The file of a database that is one. Raises `StoreUnsuitable` for one in memory."""
    scheme, place = _parts_of(address)
    if scheme == "memory":
        raise StoreUnsuitable("a database in memory is gone with the process that had it")
    return place


def _parts_of(address: str) -> tuple[str, str]:
    """The scheme and the rest of an address; a plain path is a SQLite file."""
    scheme = _SCHEME.match(address)
    if scheme is None and address.lower() in _DATABASES:
        raise ConfigError(
            f"{address!r} is a kind of database and names no file: {address}: with a colon is "
            f"the one of this process, a file of that name is ./{address}"
            if address.lower() == "memory"
            else "a SQLite file is named by its path: sqlite:PATH, or just PATH"
        )
    if scheme is None:
        return "sqlite", address
    name, place = scheme[1].lower(), address[scheme.end() :]
    if name not in _DATABASES:
        known = ", ".join(f"{each}:" for each in _DATABASES)
        raise ConfigError(f"{name}: is no database that Rewake knows ({known} or a path)")
    if name == "sqlite" and (not place or place.startswith("//")):
        raise ConfigError("a SQLite file is named by its path: sqlite:PATH, or just PATH")
    return name, place


# --- dispatchers -------------------------------------------------------------------------------


_DISPATCHERS: Mapping[str, Callable[[ServerConfig, Secret, Clock], Dispatcher]] = {
    "in-process": lambda _config, _secret, clock: InProcessDispatcher(clock),
    "http": lambda config, secret, clock: HttpDispatcher(config.url, secret, clock),
}


# --- the whole ---------------------------------------------------------------------------------


def build_engine(app: App, config: ServerConfig, secret: Secret, clock: Clock) -> Engine:
    """An engine that serves `app` as configured. Raises `ConfigError`, `StoreError`."""
    dispatcher = _DISPATCHERS[config.dispatcher](config, secret, clock)
    table, shelf = open_database(config.db)
    settings = Settings(
        lease=round(config.lease * 1000),
        blocked=round(config.blocked * 1000),
        cached=config.cached,
        tasks=config.tasks,
        url=config.url,
    )
    return Engine(app, table, dispatcher, secret, shelf=shelf, clock=clock, settings=settings)


def build_app(source: str | App, config: ServerConfig, *, development: bool = False) -> Starlette:
    """The ASGI app that serves `source`. Raises `AppError`, `ConfigError`, `StoreError`.

    `development`: what is not set up yet is warned of, and shut.
    """
    secret = config.secret
    if secret is None:
        raise ConfigError("there is no secret: set REWAKE_SECRET to a long random text")
    app = load_app(source)[0] if isinstance(source, str) else source
    clock = SystemClock()
    engine = build_engine(app, config, secret, clock)
    return create_app(
        engine,
        secret,
        tokens=config.tokens,
        grace=config.grace,
        limits=Limits(config.waiting, config.backlog),
        clock=clock,
        development=development,
        cors=config.cors,
        identity=config.identity,
    )


def app_from_env(environ: Mapping[str, str] = os.environ) -> Starlette:
    """The ASGI app that the environment describes. Raises as `build_app` does."""
    config = ServerConfig.from_env(environ)
    return build_app(config.app, config)

"""The databases, each by the scheme of its address, and the place for large values beside it.

    path/to/file.db or sqlite:path/to/file.db    one file: items and large values
    dynamodb://TABLE or dynamodb://TABLE/APP     with REWAKE_BLOBS=s3://BUCKET or s3://BUCKET/PREFIX
    postgresql://USER@HOST/NAME?schema=APP       a schema of a PostgreSQL database: all of it
    memory:                                      gone with the process: for tests

Another one is a row of `_KINDS`, and a module in `rewake.stores` that is imported only by whoever
names it, for its driver is an extra.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from rewake.errors import ConfigError, StoreUnsuitable
from rewake.hosts.config import expanded, make_home
from rewake.ledger import Copying
from rewake.stores.keys import COPYING
from rewake.stores.listing import Listing
from rewake.stores.memory import MemoryTable
from rewake.stores.shelf import Shelf
from rewake.stores.sqlite.reader import SqliteReader
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.table import Table


class Database(NamedTuple):
    """A table for items, and a shelf for large values."""

    table: Table
    shelf: Shelf


class Reader(NamedTuple):
    """A database of which no byte changes. `torn`: what was read must be read again."""

    table: Table
    shelf: Shelf
    torn: Callable[[], bool]
    listing: Listing
    """All that it has, for who copies it."""


_HOST = re.compile(r"(\[[^]]*\]|[^][:]*)(:[0-9]*)?")
"""A host, with a port or without."""
_WHERE = ("host", "hostaddr", "port", "dbname", "service", "schema")
"""What the query of an address says of the place."""
_NAMES = {*_WHERE, "user", "password", "options", "application_name", "sslmode", "sslpassword"}
"""What it may say whose value has an @."""
_NO_COLON = re.compile(r"[A-Za-z0-9+-]*//.*@", re.DOTALL)
"""An address without its colon; a folder of a path may have an @ in its name, and a / twice."""


class Address(NamedTuple):
    """Where a database is: what `REWAKE_DB` says, and what `REWAKE_BLOBS` says."""

    db: str
    blobs: str = ""

    def __str__(self) -> str:
        """For people and logs: without a password."""
        if "://" not in self.db:
            return self.db
        # By hand: a password may have any letter in it, and the query may have a password.
        scheme, _, rest = self.db.partition("://")
        place, _, query = rest.partition("?")
        where = place.rpartition("@")[2]
        given = [each for each in query.split("&") if each]
        said = "&".join(each for each in given if each.partition("=")[0] in _WHERE)
        whole = "@" not in query or all(each.partition("=")[0] in _NAMES for each in given)
        hosts = where.partition("/")[0].split(",")
        if not whole or not all(map(_HOST.fullmatch, hosts)):
            return f"{scheme}://…"  # it may be a part of a password
        return f"{scheme}://{where}{said and '?'}{said}"


class Kind(NamedTuple):
    """What can be done with a kind of database, by what follows the scheme of its address.

    `open`: to serve from it. `existing`: the same, but never made. `reader`: no byte of it changes.
    `create`: make what is missing, and say what was; `check`: say what does not fit. Each raises
    `ConfigError` for an address that is not understood, and `StoreError`.
    """

    open: Callable[[str, str], Database]
    existing: Callable[[str, str], Database]
    reader: Callable[[str, str], Reader]
    create: Callable[[str, str], Awaitable[list[str]]]
    check: Callable[[str, str], Awaitable[list[str]]]
    is_checked: bool = False
    """Whether a server checks it before it serves: to open it does not tell enough."""


# --- SQLite --------------------------------------------------------------------------------------


HOME = ".rewake"
"""The folder of an app's own files."""


def _open_file(place: str, blobs: str) -> Database:
    file = _file(place, blobs)
    check_place(file)
    if file.parent.name == HOME:
        make_home(file.parent)
    if not file.exists():  # to open and close one that SQLite has open takes its locks away
        with suppress(OSError):  # SQLite says what is wrong
            # SQLite gives its log and its index the mode of the database.
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    table = SqliteTable(file)
    return Database(table, table)


def _existing_file(place: str, blobs: str) -> Database:
    file = _file(place, blobs)
    if not file.is_file():
        raise StoreUnsuitable(f"there is no database {file}")
    return _open_file(place, blobs)


def _read_file(place: str, blobs: str) -> Reader:
    reader = SqliteReader(_file(place, blobs))
    return Reader(reader, reader, reader.has_changed, reader)


async def _create_file(place: str, blobs: str) -> list[str]:
    file = _file(place, blobs)
    made = [] if file.is_file() else [f"the database {file}"]
    await _open_file(place, blobs).table.close()
    return made


async def _check_file(place: str, blobs: str) -> list[str]:
    await _existing_file(place, blobs).table.close()
    return []


def _file(place: str, blobs: str) -> Path:
    if not place or place.startswith("//"):
        raise ConfigError("a SQLite file is named by its path: sqlite:PATH, or just PATH")
    if blobs:
        raise ConfigError("a SQLite file keeps large values itself: REWAKE_BLOBS is for others")
    return expanded(place)


def check_place(file: Path) -> None:
    """Raise `ConfigError` if a database has no folder: its path may be mistyped.

    Only `.rewake` is made.
    """
    folder = file.parent.parent if file.parent.name == HOME else file.parent
    if not folder.is_dir():
        raise ConfigError(f"there is no folder {folder} for the database {file.name}: make it")


# --- memory --------------------------------------------------------------------------------------


def _memory(place: str, blobs: str) -> Database:
    if place or blobs:
        raise ConfigError("memory: has no name, and keeps large values itself")
    table = MemoryTable()
    return Database(table, table)


def _gone(*_: str) -> NoReturn:
    raise StoreUnsuitable("a database in memory is gone with the process that had it")


async def _nothing(place: str, blobs: str) -> list[str]:
    _memory(place, blobs)
    return []


# --- elsewhere -----------------------------------------------------------------------------------


def _of(module: str) -> Kind:
    """A kind in a module of its own, which is imported once somebody names it."""

    def late(name: str) -> Callable[[str, str], Any]:
        def call(place: str, blobs: str) -> Any:
            return getattr(import_module(module), name)(place, blobs)

        return call

    openers = late("open_to_serve"), late("open_existing"), late("open_to_read")
    return Kind(*openers, late("create"), late("check"), is_checked=True)


# --- all of them ---------------------------------------------------------------------------------


_POSTGRES = _of("rewake.hosts.postgres")._replace(is_checked=False)
"""To open it tells enough."""
_KINDS: Mapping[str, Kind] = {
    "sqlite": Kind(_open_file, _existing_file, _read_file, _create_file, _check_file),
    "memory": Kind(_memory, _gone, _gone, _nothing, _nothing),
    "dynamodb": _of("rewake.hosts.dynamodb"),
    "postgresql": _POSTGRES,
    "postgres": _POSTGRES,
}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):")
"""What an address begins with that is no path; a path with a colon can begin with `./`."""


def open_database(address: Address) -> Database:
    """The database at an address; a SQLite file is made if there is none.

    Raises `ConfigError` for an address that is not understood, and `StoreError`.
    """
    kind, place = _parts_of(address.db)
    return kind.open(place, address.blobs)


def open_existing(address: Address) -> Database:
    """An existing database, by its address. Raises `StoreUnsuitable` if there is none."""
    kind, place = _parts_of(address.db)
    return kind.existing(place, address.blobs)


def open_to_read(address: Address) -> Reader:
    """A database of which no byte changes. Raises as `open_existing` does."""
    kind, place = _parts_of(address.db)
    return kind.reader(place, address.blobs)


async def create_database(address: Address) -> list[str]:
    """Make what is missing of a database. Returns what that was. Raises as `open_database` does."""
    kind, place = _parts_of(address.db)
    return await kind.create(place, address.blobs)


async def check_database(address: Address) -> list[str]:
    """What of a database does not fit, a line each. Raises as `open_existing` does."""
    kind, place = _parts_of(address.db)
    return await kind.check(place, address.blobs) or await _half_copied(address)


async def _half_copied(address: Address) -> list[str]:
    """That it is a copy that is not whole yet, if it is: its runs would go on in part."""
    try:
        reader = open_to_read(address)
    except StoreUnsuitable:  # another server makes it just now; if not, opening it tells what it is
        return []
    try:
        copying: Copying | None = await reader.table.get(COPYING)
    finally:
        await reader.table.close()
    if copying is None:
        return []
    told = f"{address} is half a copy of {copying.source}"
    return [f"{told}: ask for it again (rewake tables copy), to its end"]


def refuse_unfit(address: Address) -> None:
    """Raise `StoreUnsuitable` in one line if a database does not fit, or is half a copy.

    Raises `ConfigError` and `StoreError` too. Not for the event loop.
    """
    kind, _ = _parts_of(address.db)
    if kind is _KINDS["memory"] or ((file := file_of(address)) is not None and not file.exists()):
        return
    asked = check_database if kind.is_checked else _half_copied
    if wrong := asyncio.run(asked(address)):
        more = f" (and {len(wrong) - 1} more: rewake tables check)" if len(wrong) > 1 else ""
        raise StoreUnsuitable(wrong[0] + more)


_WITH_LARGE_VALUES = ("sqlite", "memory", "postgresql", "postgres")
"""The kinds that keep large values themselves."""


def address_of(db: str, blobs: str) -> Address:
    """An address, with the place for large values where the database keeps none itself."""
    kind, _ = _parts_of(db)
    keeps = kind in [_KINDS[name] for name in _WITH_LARGE_VALUES]
    return Address(db, "" if keeps else blobs)


def values_of(address: Address) -> str:
    """Where the large values are of a database that keeps none itself; empty for another one."""
    kind, place = _parts_of(address.db)
    if kind is not _KINDS["dynamodb"]:
        return ""
    at = import_module("rewake.hosts.dynamodb").where(place, address.blobs)
    return f"s3://{at.bucket}/{at.prefix}"


def schema_of(db: str) -> str:
    """The schema that an address of PostgreSQL names. `ConfigError` for another kind."""
    kind, place = _parts_of(db)
    if kind is not _POSTGRES:
        told = "connection= needs the database of the servers: set REWAKE_DB to its address"
        raise ConfigError(f"{told}, postgresql://…")
    schema: str = import_module("rewake.hosts.postgres").schema_of(place)
    return schema


def file_of(address: Address) -> Path | None:
    """The file of a database that is one; None if it is none. Raises `ConfigError`."""
    kind, place = _parts_of(address.db)
    return _file(place, address.blobs) if kind is _KINDS["sqlite"] else None


def _parts_of(db: str) -> tuple[Kind, str]:
    """The kind of a database and the rest of its address; a plain path is a SQLite file."""
    scheme = _SCHEME.match(db)
    if scheme is None and db.lower() in _KINDS:
        raise ConfigError(
            f"{db!r} is a kind of database and names no file: {db}: with a colon is "
            f"the one of this process, a file of that name is ./{db}"
            if db.lower() == "memory"
            else "a SQLite file is named by its path: sqlite:PATH, or just PATH"
        )
    if scheme is None and _NO_COLON.match(db):  # what is told of a path is all of it
        raise ConfigError("this is no path, and no address: is a colon missing before its //?")
    if scheme is None:
        return _KINDS["sqlite"], db
    name, place = scheme[1].lower(), db[scheme.end() :]
    if name not in _KINDS:
        known = ", ".join(f"{each}:" for each in _KINDS)
        raise ConfigError(f"{name}: is no database that Rewake knows ({known} or a path)")
    return _KINDS[name], place

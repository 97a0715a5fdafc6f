"""`rewake runs archived`: what an archive has, without a server."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import date
from typing import TypeVar

from rewake.cli.exits import Exit, tell
from rewake.engine.keeping.archiving import opened
from rewake.errors import ConfigError, RunNotFound, UsageError
from rewake.hosts.archives import open_archive
from rewake.hosts.config import ServerConfig
from rewake.kin import AN_ID, is_id
from rewake.stores.archive import Archive

T = TypeVar("T")


def listed(day: str) -> Exit:
    """Say which runs there are of a day."""
    names = _asked(ServerConfig.from_env(), day, lambda archive: archive.names(day))
    for run in dict.fromkeys(run for run, _ in names):
        print(run)
    if not names:
        tell(f"nothing is archived of {day}")
    return Exit.DONE


def shown(day: str, run: str) -> Exit:
    """Write the newest document of a run."""
    config = ServerConfig.from_env()

    async def read(archive: Archive) -> bytes:
        name = (await _named(archive, day, run))[-1]
        return opened(await archive.get(day, run, name), run, name, config.codec)

    print(_asked(config, day, read).decode())
    return Exit.DONE


def erased(day: str, run: str) -> Exit:
    """Remove all documents of a run."""

    async def remove(archive: Archive) -> None:
        await _named(archive, day, run)
        await archive.remove(day, run)

    _asked(ServerConfig.from_env(), day, remove)
    print(f"run {run} is erased from the archive")
    return Exit.DONE


async def _named(archive: Archive, day: str, run: str) -> list[str]:
    """The documents of a run, the newest last. Raises `RunNotFound`."""
    if not is_id(run):
        raise UsageError(f"a run id is {AN_ID}")
    found = await archive.names_of(day, run)
    if not found:
        raise RunNotFound(f"no run {run!r} is archived of {day}")
    return found


def _asked(config: ServerConfig, day: str, ask: Callable[[Archive], Awaitable[T]]) -> T:
    """What an archive says. Raises `ConfigError`, `UsageError`, and as the archive does."""
    if not config.archive:
        raise ConfigError("there is no archive: set REWAKE_ARCHIVE")
    try:
        is_day = date.fromisoformat(day).isoformat() == day
    except ValueError:
        is_day = False
    if not is_day:
        raise UsageError(f"a day is written 2026-11-26, and not {day!r}")

    async def asked() -> T:
        archive = open_archive(config.archive)
        try:
            return await ask(archive)
        finally:
            await archive.close()

    return asyncio.run(asked())

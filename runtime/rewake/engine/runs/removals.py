"""Requests about runs that have ended: hold one, erase one, purge many."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple

from rewake.engine.runs.family import family_of
from rewake.engine.runs.listing import Listing, Wanted
from rewake.engine.services import Services
from rewake.errors import ConfigError, RunConflict, RunNotFound
from rewake.records import Header, Millis
from rewake.states import ENDED
from rewake.stores.ended import ended_at, is_ended_due

AT_ONCE = 200
"""The most steps in which one request erases; what is left goes with the next sweeps."""
ARCHIVED_AT_ONCE = 20
"""The most runs that one request looks at where some are archived before they go."""


class Purged(NamedTuple):
    """What one page of a purge came to: the runs that go, those that are held, where to go on."""

    runs: list[Header]
    held: list[Header]
    cursor: str | None


class Removals:
    """What can be asked of the runs of one store that have ended."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = services.store
        self.listing = Listing(services.store)

    async def hold(self, run: str, *, dry_run: bool = False) -> Header:
        """Keep a run, ended or not, and those that it has begun, or begins, until `unhold`.

        Raises `RunNotFound`.
        """
        if dry_run:
            return await self._store.header(run)
        held = await self._store.hold(run)  # first: what it begins from now on is held too
        for each in await family_of(self._store, run):
            with suppress(RunNotFound):
                await self._store.hold(each.run)
        return held

    async def unhold(self, run: str, *, dry_run: bool = False) -> Header:
        """Let a run, and those that it has begun, be removed when their time is over.

        Perhaps at once. Raises `RunNotFound`.
        """
        if dry_run:
            return await self._store.header(run)
        for each in await family_of(self._store, run):
            with suppress(RunNotFound):
                await self._store.let_be_removed(each.run, self._services.keeping.due_of)
        return await self._store.let_be_removed(run, self._services.keeping.due_of)

    async def erase(self, run: str, *, dry_run: bool = False) -> Header:
        """Remove an ended run now, those that it has begun, and the deliveries that came to them.

        Returns it as it was. Its id, and its key, stay taken for a while. Raises `RunNotFound`,
        also of one that was removed before, whose deliveries go, and what is archived of it; and
        `RunConflict` if one of them has not ended, is held, or goes on meanwhile.
        """
        header = await self._erasable(run, dry_run=dry_run)
        family = [header, *await family_of(self._store, run)]
        for each in family:
            _check_erasable(each)
        if not dry_run:
            for each in reversed(family):  # what names others goes last: a death may lie between
                await self._erase(each)
        return header

    async def _erase(self, header: Header) -> None:
        services, now, run = self._services, self._services.clock.now(), header.run
        await self._tell(header)
        await self._store.deliveries.erase(run)  # first: else a death here would leave them
        stone = await self._store.remove(header, now, erased=True)
        if stone is None:
            raise RunConflict(f"run {run!r} has changed meanwhile: look at it again")
        services.cache.drop(run)
        await self._store.deliveries.erase(run)  # of what came meanwhile
        if await services.keeping.clear(stone, now, AT_ONCE) == AT_ONCE:
            services.keeping.hurry()

    async def _erasable(self, run: str, *, dry_run: bool) -> Header:
        """The run. Of one that is removed all but its deliveries is gone: these go now."""
        try:
            return await self._store.header(run)
        except RunNotFound:
            stone = await self._store.standing(run)
            if stone is not None and not dry_run:
                await self._store.deliveries.erase(run)
                await self._forget(stone)
            raise

    async def _forget(self, run: Header) -> None:
        """Remove what is archived of a stone, and what late comes to it."""
        archiving = self._services.keeping.archiving
        await self._store.erase_stone(run)  # for whoever has the archive, at the next look
        if archiving is not None:
            await archiving.forget(run)

    async def _tell(self, ended: Header) -> None:
        """Tell those who wait for a run how it ended, unless that is done."""
        if ended.due is not None and not is_ended_due(ended.due):
            await self._services.tell(ended, None)

    async def _remove(self, header: Header, now: Millis) -> bool:
        """Remove an ended run with the next sweep; False: it goes on, or is held."""
        await self._tell(header)
        keeping = self._services.keeping
        if keeping.archives(header):
            if keeping.archiving is None:
                raise ConfigError("there is no archive for what is to be archived: REWAKE_ARCHIVE")
            await keeping.archiving.whole(header)
        if await self._store.remove(header, now, at=now) is None:
            return False
        self._services.cache.drop(header.run)
        return True

    async def purge(
        self, wanted: Wanted, before: Millis, *, cursor: str | None = None, dry_run: bool = False
    ) -> Purged:
        """Remove those of the next runs of a list that are wanted and ended before then.

        Child runs are among them. A page looks at a bounded number; they go with the next sweeps.
        """
        wanted = replace(wanted, children=True)
        limit = AT_ONCE if self._services.keeping.archiving is None else ARCHIVED_AT_ONCE
        now, runs, held = self._services.clock.now(), list[Header](), list[Header]()
        found, cursor = await self.listing.page(wanted, limit, cursor)
        for header in found:
            if header.state not in ENDED or ended_at(header) >= before:
                continue
            if header.hold:
                held.append(header)
            elif dry_run or await self._remove(header, now):
                runs.append(header)
        if runs and not dry_run:
            self._services.keeping.hurry()
        return Purged(runs, held, cursor)


def _check_erasable(header: Header) -> None:
    """Raise `RunConflict` unless a run has ended, and nobody holds it."""
    if header.state not in ENDED:
        told = f"has not ended, it is {header.state.said}: kill it first"
        raise RunConflict(f"run {header.run!r} {told}", run=header.run)
    if header.hold:
        raise RunConflict(f"run {header.run!r} is held: unhold it first", run=header.run)

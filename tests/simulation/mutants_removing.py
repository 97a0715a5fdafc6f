"""Mutants of removal: what is left, forgotten too early, or removed while it is there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.engine.keeping.keeping import Keeping
from rewake.engine.starts import starting as engine_starting
from rewake.engine.starts.starting import Find, Name
from rewake.ledger import View
from rewake.records import Header, Millis
from rewake.stores.keys import header_key
from rewake.stores.memory import MemoryTable
from rewake.stores.protocol import Store
from rewake.stores.removal import Removal
from rewake.stores.shelf import Shelf
from rewake.stores.sqlite.table import SqliteTable
from rewake.stores.views import Views
from tests.simulation.mutants import Mutant


@contextmanager
def forgets_the_stone() -> Iterator[None]:
    """A stone is not due: should its process die, nobody goes on with the removal."""
    remove = Removal.remove

    async def careless(self: Removal, ended: Header, now: Millis, **how: Any) -> Header | None:
        stone = await remove(self, ended, now, **how)
        if stone is not None:
            await self._table.update(header_key(stone.run), set={"due": None})
        return stone

    with patch.object(Removal, "remove", careless):
        yield


@contextmanager
def leaves_a_gap() -> Iterator[None]:
    """The stone of the first run of a key goes, although newer ones are there."""
    settle = Removal.settle_stone

    async def hasty(self: Removal, stone: Header, now: Millis) -> None:
        if stone.floor:
            await self._take_away(stone)
        else:
            await settle(self, stone, now)

    with patch.object(Removal, "settle_stone", hasty):
        yield


@contextmanager
def goes_out_of_turn() -> Iterator[None]:
    """The stone of a later run of a key goes, although older ones are there."""

    async def hasty(self: Removal, stone: Header, *_: Any) -> None:
        await self._take_away(stone)

    with patch.object(Removal, "_fold", hasty):
        yield


@contextmanager
def leaves_the_view() -> Iterator[None]:
    """A removed run stays in the list."""

    async def forgetful(self: Views, view: View) -> None:
        pass

    with patch.object(Views, "remove", forgetful):
        yield


@contextmanager
def leaves_the_values() -> Iterator[None]:
    """A removed run's large values stay."""

    async def forgetful(self: Shelf, run: str, *, limit: int) -> bool:
        return False

    with (
        patch.object(MemoryTable, "delete_blobs", forgetful),
        patch.object(SqliteTable, "delete_blobs", forgetful),
    ):
        yield


@contextmanager
def clears_what_goes_on() -> Iterator[None]:
    """What an ended run had is removed before its header says that it is removed."""
    remove = Removal.remove

    async def hasty(self: Removal, ended: Header, now: Millis, **how: Any) -> Header | None:
        await self.clear(ended)
        return await remove(self, ended, now, **how)

    with patch.object(Removal, "remove", hasty):
        yield


@contextmanager
def forgets_at_once() -> Iterator[None]:
    """An id may be taken again as soon as its run is removed."""
    settle = Removal.settle_stone

    async def hasty(self: Removal, stone: Header, now: Millis) -> None:
        await settle(self, stone, now + self.remembered + self.later)

    with patch.object(Removal, "settle_stone", hasty):
        yield


@contextmanager
def claims_without_a_look() -> Iterator[None]:
    """A late message for a task of a removed run begins it."""
    claim = Store.claim_task

    async def blind(self: Store, task: Any, **_: Any) -> Any:
        return await claim(self, task, sure=True)

    with patch.object(Store, "claim_task", blind):
        yield


@contextmanager
def begins_at_the_floor() -> Iterator[None]:
    """Of a key whose first runs are gone, the first that may be there is taken for missing."""

    async def short(name: Name, number: int, header: Header, find: Find) -> tuple[int, Header]:
        return await engine_starting._newest_from(name, number, header, find)

    with patch.object(engine_starting, "newest", short):
        yield


@contextmanager
def removes_what_is_not_archived() -> Iterator[None]:
    """A run goes although its archive is not written: it is away, or the next sweep would go on."""
    archive = Keeping._archive

    async def hasty(self: Keeping, ended: Header, now: Millis, _: int) -> tuple[int, bool]:
        taken, _ = await archive(self, ended, now, 1)
        return taken, True

    with patch.object(Keeping, "_archive", hasty):
        yield


REMOVING: Sequence[Mutant] = (
    forgets_the_stone,
    leaves_a_gap,
    goes_out_of_turn,
    leaves_the_view,
    leaves_the_values,
    clears_what_goes_on,
    forgets_at_once,
    claims_without_a_look,
    begins_at_the_floor,
    removes_what_is_not_archived,
)

"""Mutants of join items: how arrivals are counted beside the header of a wide run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

import msgspec

from rewake.engine.commits import Commits
from rewake.ledger import Join
from rewake.records import Header, Operation
from rewake.stores.joins import Joins
from rewake.stores.keys import join_key
from rewake.stores.layout import Layout
from tests.simulation.mutants import Mutant


@contextmanager
def the_last_tells_nobody() -> Iterator[None]:
    """Whoever makes a join item complete does not arrive at the header."""

    async def silent(self: Joins, operation: Operation) -> bool:
        shard = self.layout.shard(operation.key)
        if shard is None:
            return False
        key = join_key(operation.run, shard)
        found = await self._table.get(key)
        await count(self, operation)
        return found is not None and found.missing < 0

    count = Joins._count_down
    with patch.object(Joins, "_count_down", silent):
        yield


@contextmanager
def joins_stay_open() -> Iterator[None]:
    """Whoever goes on with a run leaves its join items as they are."""

    async def none(self: Joins, held: Header) -> int:
        return held.joins + 1

    with patch.object(Joins, "close_joins", none):
        yield


@contextmanager
def an_overtaken_holder_opens() -> Iterator[None]:
    """A join item is opened whatever its number is."""

    async def any_number(self: Joins, run: str, shard: int, number: int, missing: int) -> None:
        new = {"number": number, "missing": missing}
        await self._update(join_key(run, shard), set=new, create=Join())

    with patch.object(Joins, "_number", any_number):
        yield


@contextmanager
def opens_unannounced() -> Iterator[None]:
    """Join items are opened before the header says that they may be."""

    async def open_joins(self: Joins, held: Header, counts: Counter[int]) -> Header | None:
        number = held.joins + 1
        for shard, n in counts.items():
            await self._number(held.run, shard, number, -n)
        return await opened(self, held, counts)

    opened = Joins.open_joins
    with patch.object(Joins, "open_joins", open_joins):
        yield


@contextmanager
def reads_what_was_heard_of() -> Iterator[None]:
    """What was counted beside the header is not read."""

    async def closed(self: Commits) -> bool:
        await close(self)
        return False

    close = Commits.close_joins
    with patch.object(Commits, "close_joins", closed):
        yield


@contextmanager
def knows_what_it_has_not_read() -> Iterator[None]:
    """To open join items takes what has arrived meanwhile for read."""

    async def fresh(self: Joins, held: Header, counts: Counter[int]) -> Header | None:
        opening = await opened(self, held, counts)
        if opening is None:
            return None
        found = await self.header(held.run)
        return msgspec.structs.replace(opening, arrivals=found.arrivals)

    opened = Joins.open_joins
    with patch.object(Joins, "open_joins", fresh):
        yield


@contextmanager
def wide_is_not_noted() -> Iterator[None]:
    """A header does not say that operations of its run lie elsewhere."""
    with patch.object(Layout, "wide", lambda self, entries, known: known):
        yield


COUNTING: Sequence[Mutant] = (
    the_last_tells_nobody,
    joins_stay_open,
    an_overtaken_holder_opens,
    opens_unannounced,
    reads_what_was_heard_of,
    knows_what_it_has_not_read,
    wide_is_not_noted,
)

"""Mutants of join items: how arrivals are counted beside the header of a wide run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

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
def wide_is_not_noted() -> Iterator[None]:
    """A header does not say that operations of its run lie elsewhere."""
    with patch.object(Layout, "wide", lambda self, entries, known: known):
        yield


COUNTING: Sequence[Mutant] = (
    the_last_tells_nobody,
    joins_stay_open,
    wide_is_not_noted,
)

"""Mutants of streams: how what attempts say is put there, and how a reader goes on."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import msgspec

from rewake.authoring.context import TaskContext
from rewake.engine.logs.log_keeper import LogKeeper
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.runs import retries
from rewake.records import Entry, Logged
from rewake.stores import places, told
from rewake.stores.places import Place
from rewake.stores.streams import Streams
from rewake.streamed import StreamBatch
from tests.simulation.mutants import Mutant


@contextmanager
def forgotten_marks() -> Iterator[None]:
    """Who was told that a write had failed takes its own batch for that of another."""
    put = Streams.put

    async def forgetful(self: Streams, number: int, batch: StreamBatch, logs: Any) -> bool:
        new = msgspec.structs.replace(batch, mark=f"{batch.mark}.{next(tries)}")
        return await put(self, number, new, logs)

    tries = itertools.count()
    with patch.object(Streams, "put", forgetful):
        yield


@contextmanager
def guessed_numbers() -> Iterator[None]:
    """Every writer believes that nobody else writes: it puts its batch over what is there."""
    put = Streams.put

    async def careless(self: Streams, number: int, batch: StreamBatch, logs: Any) -> bool:
        table: Any = self._table
        kept, self._table = table, _Careless(table)
        try:
            return await put(self, number, batch, logs)
        finally:
            self._table = kept

    with patch.object(Streams, "put", careless):
        yield


class _Careless:
    """A table that puts without looking."""

    def __init__(self, table: Any) -> None:
        self._inner = table

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def put(self, key: Any, item: Any, *, absent: bool = False) -> Any:
        return await self._inner.put(key, item)


@contextmanager
def hasty_ends() -> Iterator[None]:
    """An attempt has its outcome before what it said is written."""

    async def hasty(self: LogKeeper, context: TaskContext, logs: AttemptLog) -> None:
        self._open.pop(logs, None)
        self._say(context, logs, over=True)
        self._newest.pop(logs, None)

    with patch.object(LogKeeper, "end", hasty):
        yield


@contextmanager
def taken_back() -> Iterator[None]:
    """What a body emitted in a part that a retry cuts off is gone."""

    def only_lines(gone: Sequence[Entry], event: Entry) -> Iterator[Entry]:
        return (entry for entry in gone if isinstance(entry, Logged))

    with patch.object(retries, "told", only_lines):
        yield


@contextmanager
def told_again() -> Iterator[None]:
    """A reader of a history that was cut forgets what it was told of the part that is gone."""
    moved = places.in_cut_history

    def forgetful(place: Place, round: int, entries: Sequence[Entry]) -> Place:
        found = moved(place, round, entries)
        found.known_items = found.known_lines = 0
        return found

    with patch.object(told, "in_cut_history", forgetful):
        yield


FOLLOWING: Sequence[Mutant] = (
    forgotten_marks,
    guessed_numbers,
    hasty_ends,
    taken_back,
    told_again,
)

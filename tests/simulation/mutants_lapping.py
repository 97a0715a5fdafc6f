"""Mutants of endless workflows: what is lost, or left behind, as a lap ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from rewake.engine.turns.commits import Commits
from rewake.noted import LapState
from rewake.records import Entry, Header
from rewake.replay import execution as replay_execution
from rewake.stores.laps import Laps
from rewake.stores.protocol import Store
from tests.simulation.mutants import Mutant


@contextmanager
def ends_a_lap_unheard() -> Iterator[None]:
    """A lap ends although a request to cancel came meanwhile."""
    append = Store._append

    async def deaf(
        self: Store, held: Header, entries: Sequence[Entry], changes: Any, *rest: Any, **more: Any
    ) -> Any:
        if more.get("onto") is not None:
            more["arrivals"] = None
        return await append(self, held, entries, changes, *rest, **more)

    with patch.object(Store, "_append", deaf):
        yield


@contextmanager
def forgets_a_late_cancel() -> Iterator[None]:
    """A request to cancel that came after the end of a lap was on record goes with that lap."""
    next_lap = Laps.next_lap

    async def forgets(self: Laps, held: Header, entries: Sequence[Entry], **_: Any) -> Any:
        return await next_lap(self, held, entries, cancels=held.cancels)

    with patch.object(Laps, "next_lap", forgets):
        yield


@contextmanager
def leaves_open() -> Iterator[None]:
    """What is open as a lap ends is cancelled by nobody."""

    async def no(*_: Any) -> None:
        pass

    next_lap = Commits._next_lap

    async def careless(self: Commits, *args: Any) -> bool:
        with patch.object(Commits, "_cancel_withdrawn", no):
            return await next_lap(self, *args)

    with patch.object(Commits, "_next_lap", careless), patch.object(Laps, "_cancel_lap", no):
        yield


@contextmanager
def keeps_all_laps() -> Iterator[None]:
    """Nothing of earlier laps is ever removed."""

    async def note(self: Laps, header: Header, **_: Any) -> LapState:
        return replace(header.lap, cleared=header.lap.number)

    with patch.object(Laps, "look_after_laps", note):
        yield


@contextmanager
def keys_of_the_first_lap() -> Iterator[None]:
    """Operations of all laps have the same keys: what the first came to is the outcome of all."""
    with patch.object(replay_execution, "prefix_of", lambda _: ""):
        yield


LAPPING: Sequence[Mutant] = (
    ends_a_lap_unheard,
    forgets_a_late_cancel,
    leaves_open,
    keeps_all_laps,
    keys_of_the_first_lap,
)

"""Mutants of what stands beside runs: states, copies, what is shown, signals that come early."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from msgspec.structs import replace

from rewake.engine.instances.inbox import Inbox
from rewake.engine.outside import keyed
from rewake.engine.turns import commits
from rewake.engine.turns.laps import first_entries
from rewake.engine.turns.noting import Noting
from rewake.keyed import Entrant, State
from rewake.records import Entry, Header, Operation, Started
from rewake.stores.forks import Forks
from tests.simulation.mutants import Mutant


@contextmanager
def everybody_has_a_state() -> Iterator[None]:
    """Whoever enters has the state, and who had it before is in its block still."""

    def entered(state: State, mine: Entrant, gone: Entrant | None) -> State:
        state.holder = mine
        return state

    with patch.object(keyed, "_entered", entered):
        yield


@contextmanager
def a_fork_is_there_before_what_it_is_made_of() -> Iterator[None]:
    """The header of a fork is written first, and the outcomes that it names after it."""
    fork = Forks.fork

    async def hasty(
        self: Forks, header: Header, entries: Sequence[Entry], items: Sequence[Operation]
    ) -> tuple[Header, bool]:
        made = await fork(self, header, entries, [])
        for item in items:
            await self._put(self.layout.item(item), item, absent=True)
        return made

    with patch.object(Forks, "fork", hasty):
        yield


@contextmanager
def nothing_is_shown() -> Iterator[None]:
    """What a body says of its run stays with its instance."""

    async def silent(self: Noting, header: Header, notes: Any) -> Header:
        return header

    with patch.object(Noting, "in_header", silent):
        yield


@contextmanager
def what_is_there_is_not_looked_for() -> Iterator[None]:
    """Who begins to wait for a signal waits for the next one to arrive."""
    with patch.object(Inbox, "has_more", lambda *_: False):
        yield


@contextmanager
def a_lap_forgets_what_was_heard() -> Iterator[None]:
    """A lap begins as if none before it had consumed a signal."""

    def deaf(*args: Any) -> list[Entry]:
        [begun, *said] = first_entries(*args)
        assert isinstance(begun, Started)
        return [replace(begun, lap=replace(begun.lap, heard=[])), *said]

    with patch.object(commits, "first_entries", deaf):
        yield


BESIDE: Sequence[Mutant] = (
    everybody_has_a_state,
    a_fork_is_there_before_what_it_is_made_of,
    nothing_is_shown,
    what_is_there_is_not_looked_for,
    a_lap_forgets_what_was_heard,
)

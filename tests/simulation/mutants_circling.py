"""Mutants of deadlocks: who looks for a circle of runs, and who is taken for one that is in it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from unittest.mock import patch

from rewake.engine.sweeping.deadlocks import Deadlocks, Parked, Wait
from rewake.errors import StoreError
from rewake.limited import Line
from rewake.records import Header, Scheduled
from rewake.states import RunState
from tests.simulation.mutants import Mutant


@contextmanager
def looks_for_no_circle() -> Iterator[None]:
    """Runs that wait for one another's end are left as they are."""

    async def never(self: Deadlocks, *_: Any, **how: Any) -> None: ...

    with patch.object(Deadlocks, "look_at", never):
        yield


@contextmanager
def looks_once_for_a_circle() -> Iterator[None]:
    """Nobody looks again at a run that is in a circle, should who ends that die over it."""
    look_at = Deadlocks.look_at

    async def quietly(self: Deadlocks, *given: Any, **how: Any) -> None:
        with suppress(StoreError):
            await look_at(self, *given, **how)

    async def later(self: Deadlocks, *given: Any, **how: Any) -> None:
        asyncio.ensure_future(quietly(self, *given, **how))  # noqa: RUF006 - it is soon over

    with patch.object(Deadlocks, "look_at", later):
        yield


@contextmanager
def looks_behind_no_line() -> Iterator[None]:
    """Who lines up last closes a circle that nobody sees."""

    async def never(self: Deadlocks, *_: Any) -> None: ...

    with patch.object(Deadlocks, "behind", never):
        yield


@contextmanager
def tells_who_may_go_on() -> Iterator[None]:
    """A run is in a circle whatever else it waits for."""

    async def hasty(self: Deadlocks, run: str) -> Parked | None:
        header = await self._store.find(run)
        if header is None or header.state is not RunState.PARKED:
            return None
        if (admission := header.admission) is not None and not admission.inside:
            waits = [await self._line(run, admission.terms, admission.line)]
        else:
            waits = [await wait_of(self, run, each) for each in await asked_by(self, header)]
        found = tuple(each for each in waits if each is not None)
        return Parked(("", 0, 0), header.tenant, found) if found else None

    async def asked_by(self: Deadlocks, header: Header) -> list[tuple[Scheduled, Line | None]]:
        history = await self._history(header)
        items = [(entry, history.item(entry)) for entry in history.awaited()]
        return [(entry, None if item is None else item.line) for entry, item in items]

    async def wait_of(
        self: Deadlocks, run: str, asked: tuple[Scheduled, Line | None]
    ) -> Wait | None:
        entry, line = asked
        if entry.about is not None:
            return Wait((entry.about.run,), entry.key)
        return await self._line(run, entry.terms, line, entry.key)

    with patch.object(Deadlocks, "_parked", hasty):
        yield


CIRCLING: Sequence[Mutant] = (
    looks_for_no_circle,
    looks_once_for_a_circle,
    looks_behind_no_line,
    tells_who_may_go_on,
)

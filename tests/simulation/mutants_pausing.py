"""Mutants of pauses and delayed starts: what begins although it must not, or never again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.engine.runs import beginning
from rewake.engine.services import Services
from rewake.records import Header, Millis
from rewake.states import Move, RunState
from rewake.stores.protocol import Store
from rewake.stores.table import Key, When, Written
from rewake.stores.turns import Turns
from rewake.stores.writes import begins
from tests.simulation.mutants import Mutant


@contextmanager
def counts_no_pause() -> Iterator[None]:
    """A holder parks although it was asked to pause its run, for that was no arrival."""
    update = Store._update

    async def uncounted(self: Store, key: Key, **more: Any) -> Written:
        if (more.get("set") or {}).get("pause"):
            del more["add"]
        return await update(self, key, **more)

    with patch.object(Store, "_update", uncounted):
        yield


@contextmanager
def resumes_without_a_due_time() -> Iterator[None]:
    """A resumed run is due for nobody, should the message about it get lost."""
    update = Store._update

    async def forgetful(self: Store, key: Key, **more: Any) -> Written:
        changes = more.get("set") or {}
        if changes.get("state") is RunState.READY and changes.get("check_at"):
            more["set"] = {**changes, "due": None}
        return await update(self, key, **more)

    with patch.object(Store, "_update", forgetful):
        yield


@contextmanager
def begins_delayed_runs_at_once() -> Iterator[None]:
    """A delayed run is due now, and who claims it does not ask for its moment."""

    def hasty(services: Services, header: Header, at: Millis) -> None:
        header.state, header.gap, header.wake = RunState.DELAYED, 0, at
        header.due = services.clock.now()

    def whenever(self: Turns, now: Millis) -> When:
        return [[begins(Move.CLAIM)]]

    with patch.object(beginning, "delay", hasty), patch.object(Turns, "_is_time", whenever):
        yield


PAUSING: Sequence[Mutant] = (
    counts_no_pause,
    resumes_without_a_due_time,
    begins_delayed_runs_at_once,
)

"""Mutants of heartbeats: silence, and what attempts tell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.authoring.heartbeat import Silence
from rewake.engine.process.heartbeats import Heartbeats
from rewake.records import Operation, Outcome
from rewake.stores import operations
from rewake.stores.attempts import Attempts
from rewake.stores.table import Check
from tests.simulation.mutants import Mutant


@contextmanager
def takes_what_a_stale_attempt_tells() -> Iterator[None]:
    """What an attempt tells is kept, whoever holds its task by now."""

    async def report(
        self: Attempts, run: str, key: str, owner: str, told: Mapping[str, Any]
    ) -> bool:
        where, open_ = self.layout.operation(run, key), [[Check("outcome", "absent")]]
        written = await self._update(where, when=open_, set=told)
        return written.ok and written.item.owner == owner

    with patch.object(Attempts, "report_task", report):
        yield


@contextmanager
def forgets_what_a_failed_attempt_told() -> Iterator[None]:
    """Only the beats of the heart keep what is told."""
    with patch.object(Heartbeats, "changes", lambda *_: {}):
        yield


@contextmanager
def hears_no_silence() -> Iterator[None]:
    """An attempt that hangs is waited for."""
    with patch.object(Silence, "begin", lambda self: None):
        yield


@contextmanager
def begins_at_the_beginning() -> Iterator[None]:
    """The next attempt is not given what the one before has told."""
    update = Attempts._update

    async def forgetful(self: Attempts, key: Any, **how: Any) -> Any:
        if "began" in (how.get("set") or {}):
            how["set"] = {**how["set"], "progress": None}
        return await update(self, key, **how)

    with patch.object(Attempts, "_update", forgetful):
        yield


@contextmanager
def forgets_what_was_told_with_any_end() -> Iterator[None]:
    """What was cancelled beside a failure begins at the beginning, if its run is retried."""

    def progress(operation: Operation, _: Outcome) -> Mapping[str, Any]:
        return {"progress": operation.progress}

    with patch.object(operations, "_progress_after", progress):
        yield


BEATING: Sequence[Mutant] = (
    takes_what_a_stale_attempt_tells,
    forgets_what_a_failed_attempt_told,
    hears_no_silence,
    begins_at_the_beginning,
    forgets_what_was_told_with_any_end,
)

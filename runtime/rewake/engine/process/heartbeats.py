"""What the attempts at tasks in this process tell of themselves, on its way into their items.

It is written with the beats of the heart, in place of the look that each of them takes at the claim
(`engine/process/heart.py`): so it costs one write in a third of a lease at most, however often an
attempt tells something, and is written while code blocks the event loop as well. What is told when
an attempt fails goes with that write. Only a process that dies takes the last seconds with it.

An attempt that came *further* than the one before has made progress: that attempts before it fell
silent, or had all the time that a host gives, is no reason any more to fail the task. Deaths of
processes are, whatever was told: what kills its process each time must not do so for ever.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import msgspec

from rewake.authoring.heartbeat import Beats
from rewake.errors import StoreError
from rewake.kinds import Purpose
from rewake.records import Operation, Value
from rewake.signing.secret import Secret
from rewake.stores.protocol import Store
from rewake.stores.suspects import CLEARED
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")

LATE = "deadline"
"""Why an attempt was lost that had all the time that its host gives: the type of its failure."""


class _Attempt(NamedTuple):
    """An attempt that goes on: its task as it was claimed, and what it tells."""

    operation: Operation
    beats: Beats


class Heartbeats:
    """What the attempts of one process tell, by their claims."""

    def __init__(self, store: Store, secret: Secret) -> None:
        self._store = store
        self._secret = secret
        self._open: dict[str, _Attempt] = {}
        self._kept: dict[str, bytes] = {}

    def begin(self, operation: Operation, owner: str, beats: Beats) -> None:
        """Listen to an attempt, until `end`."""
        self._open[owner] = _Attempt(operation, beats)
        self._kept[owner] = beats.told

    def end(self, owner: str) -> None:
        """Listen no more."""
        self._open.pop(owner, None)
        self._kept.pop(owner, None)

    async def look(self, run: str, key: str, owner: str) -> bool:
        """Whether a claim still holds its task; what was told since the last look is kept."""
        told = self._news(owner)
        if told is None:
            return await self._store.has_task(run, key, owner)
        kept = await self._store.report_task(run, key, owner, self._changes(owner, told))
        if kept and owner in self._kept:
            self._kept[owner] = told
        return kept

    async def keep(self, run: str, key: str, owner: str) -> None:
        """Keep what was told, before the claim is given up. A store that fails takes it along."""
        if self._news(owner) is None:
            return
        try:
            await self.look(run, key, owner)
        except StoreError:
            log.debug("the progress of %s could not be kept", key, exc_info=True)

    def changes(self, owner: str) -> dict[str, Any]:
        """What was told and is not kept yet, as changes of the item; empty: nothing."""
        told = self._news(owner)
        return {} if told is None else self._changes(owner, told)

    def progress(self, operation: Operation, owner: str) -> Value | None:
        """What was told last of this task."""
        found = self._open.get(owner)
        if found is None or not found.beats.further:
            return operation.progress
        return self._encoded(found, found.beats.told)

    def silent(self, operation: Operation, owner: str) -> int:
        """How many attempts in a row have come no further, and fell silent, with this one."""
        found = self._open.get(owner)
        further = found is not None and found.beats.further
        return 1 if further else operation.silent + 1

    def _news(self, owner: str) -> bytes | None:
        """What was told and is not kept yet."""
        found = self._open.get(owner)
        told = b"" if found is None else found.beats.told
        return None if told == self._kept.get(owner, b"") else told

    def _changes(self, owner: str, told: bytes) -> dict[str, Any]:
        found = self._open[owner]
        changes: dict[str, Any] = {"progress": self._encoded(found, told)}
        if found.beats.further and found.operation.silent:
            changes["silent"] = 0
        if found.beats.further and _was_late(found.operation):
            changes |= CLEARED
        return changes

    def _encoded(self, attempt: _Attempt, told: bytes) -> Value:
        operation, value = attempt.operation, msgspec.json.decode(told)
        codec = RunCodec(self._secret, operation.run)
        return codec.encode(value, key=operation.key, purpose=Purpose.PROGRESS)


def _was_late(held: Operation) -> bool:
    """Whether the attempt before had all the time that its host gives."""
    return bool(held.tries) and held.tries[-1].type == LATE

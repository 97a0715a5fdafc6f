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
from typing import Any

import msgspec

from rewake.authoring.heartbeat import Beats
from rewake.errors import StoreError
from rewake.kinds import Purpose
from rewake.records import Millis, Operation, Value
from rewake.signing.secret import Secret
from rewake.stores.protocol import Store
from rewake.stores.suspects import CLEARED
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")

LATE = "deadline"
"""Why an attempt was lost that had all the time that its host gives: the type of its failure."""


class _Attempt:
    """An attempt that goes on: its task as it was claimed, what it tells, what of that is kept."""

    __slots__ = ("beats", "failed", "kept", "operation")

    def __init__(self, operation: Operation, beats: Beats) -> None:
        self.operation = operation
        self.beats = beats
        self.kept = beats.told
        self.failed = False
        """Whether it was said that what it tells cannot be kept."""


class Heartbeats:
    """What the attempts of one process tell, by their claims."""

    def __init__(self, store: Store, secret: Secret) -> None:
        self._store = store
        self._secret = secret
        self._open: dict[str, _Attempt] = {}

    def begin(self, operation: Operation, owner: str, beats: Beats) -> None:
        """Listen to an attempt, until `end`."""
        self._open[owner] = _Attempt(operation, beats)

    def began(self, owner: str) -> Millis | None:
        """When an attempt began, if it has."""
        found = self._open.get(owner)
        return None if found is None else found.operation.began

    def end(self, owner: str) -> None:
        """Listen no more."""
        self._open.pop(owner, None)

    async def look(self, run: str, key: str, owner: str) -> bool:
        """Whether a claim still holds its task; what was told since the last look is kept."""
        found = self._open.get(owner)
        told = b"" if found is None else found.beats.told
        changes = {} if found is None else self._changes(found, told)
        if not changes:
            return await self._store.has_task(run, key, owner)
        kept = await self._store.report_task(run, key, owner, changes)
        if kept and found is not None:
            found.kept = told
        return kept

    async def keep(self, run: str, key: str, owner: str) -> None:
        """Keep what was told, before the claim is given up. A store that fails takes it along."""
        if not self.changes(owner):
            return
        try:
            await self.look(run, key, owner)
        except StoreError:
            log.debug("the progress of %s could not be kept", key, exc_info=True)

    def changes(self, owner: str) -> dict[str, Any]:
        """What was told and is not kept yet, as changes of the item; empty: nothing."""
        found = self._open.get(owner)
        return {} if found is None else self._changes(found, found.beats.told)

    def silent(self, operation: Operation, owner: str) -> int:
        """How many attempts in a row have come no further, and fell silent, with this one."""
        found = self._open.get(owner)
        further = found is not None and found.beats.further
        return 1 if further else operation.silent + 1

    def _changes(self, found: _Attempt, told: bytes) -> dict[str, Any]:
        made = None if told == found.kept else self._encoded(found, told)
        if made is None:
            return {}
        changes: dict[str, Any] = {"progress": made}
        if found.beats.further and found.operation.silent:
            changes["silent"] = 0
        if found.beats.further and _was_late(found.operation):
            changes |= CLEARED
        return changes

    def _encoded(self, attempt: _Attempt, told: bytes) -> Value | None:
        """What was told, as a value; None while the payload codec fails.

        For this is told beside what has to be heard and written all the same: that the claim holds,
        and how the attempt ends.
        """
        operation = attempt.operation
        codec = RunCodec(self._secret, operation.run)
        try:
            return codec.encode(
                msgspec.json.decode(told), key=operation.key, purpose=Purpose.PROGRESS
            )
        except Exception as error:  # of any kind: the codec is the user's
            if not attempt.failed:
                attempt.failed = True
                why = f"the payload codec failed ({type(error).__name__})"
                log.warning("the progress of %s cannot be kept: %s", operation.key, why)
            return None


def _was_late(held: Operation) -> bool:
    """Whether the attempt before had all the time that its host gives."""
    return bool(held.tries) and held.tries[-1].type == LATE

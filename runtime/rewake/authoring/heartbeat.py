"""Heartbeats: what an attempt at a task tells of itself while it goes on.

A heartbeat is a sign of life, and may say how far the attempt has come. It writes nothing and waits
for nothing, so that code in a thread, or in an inner loop, can tell it as often as it likes; the
engine takes the last one from here (`engine/process/heartbeats.py`).

Silence is measured here, in the process that carries the attempt out: that this lives is what its
lease says. While its event loop stands still nobody can be heard, so that time is nobody's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from rewake.encoded import Failure
from rewake.errors import AttemptOver, UsageError
from rewake.values.emitted import json_of

LARGEST_PROGRESS = 16 * 1024
"""The most bytes of progress, as JSON."""
PATIENCE = 10.0
"""The least seconds that an attempt has for its cleanup, once it is cancelled."""
LOOKS = 4
"""How often silence is looked at, at least, before it is too long."""

_decode = msgspec.json.Decoder().decode


class Silent(Exception):
    """No heartbeat came for too long."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no heartbeat came for {seconds:g} s")


def fell_silent(error: Silent, silent: int, attempts: int) -> Failure:
    """Why a task has failed of which so many attempts in a row fell silent."""
    who = "an attempt" if silent == 1 else f"{silent} attempts in a row"
    return Failure("lost", f"{who} fell silent; the last: {error}", attempts=attempts)


class Beats:
    """What one attempt has told. `before`: what the attempt before it has told last, as JSON.

    `time`: the clock by which it beats. `around`: the attempt in which it is called in place, which
    goes on as long as this does.
    """

    __slots__ = ("_around", "_before", "_process", "_time", "at", "over", "progress", "told")

    def __init__(
        self, before: bytes, time: Callable[[], float], around: Beats | None = None
    ) -> None:
        self._before = before
        self._time = time
        self._around = around
        self._process = os.getpid()
        self.told = before
        """What it has told last, or else what it began with; empty: nothing."""
        self.progress: Any = _decode(before) if before else None
        """What the attempt before has told last."""
        self.at = time()
        """When it was heard of last."""
        self.over = False
        """Whether nothing of it counts any more."""

    @property
    def further(self) -> bool:
        """Whether it has told of other progress than what it began with."""
        return self.told != self._before

    def beat(self, progress: Any) -> None:
        """Note a sign of life, from any thread.

        Raises `InvalidInput`, `AttemptOver`, and `UsageError` in a child that this process forked.
        """
        if self.over:
            raise AttemptOver("this attempt is over: nothing that it does counts any more")
        if os.getpid() != self._process:  # it would be heard by the copy of this in the child
            told = "heartbeat() is not heard from a child process: let its parent call it"
            raise UsageError(told)
        if self._around is not None:
            self._around.beat(UNSET)
        if progress is not UNSET:
            self.told = json_of(progress, "progress", LARGEST_PROGRESS)
        self.at = self._time()


class Silence:
    """The end of an attempt that is silent for so many seconds, once its function has begun.

    `timer` is over then; so its block ends as by any time-out. `left`: called if it does not.
    """

    def __init__(self, beats: Beats, seconds: float, left: Callable[[], None]) -> None:
        self._beats = beats
        self._seconds = seconds
        self._left = left
        self._loop = asyncio.get_running_loop()
        self._handle: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._over = False
        self.timer = asyncio.timeout(None)

    def begin(self) -> None:
        """Listen from now on."""
        if not self._over:
            self._beats.at = self._loop.time()
            self._listen()

    def end(self) -> None:
        """Listen no more."""
        self._over = True
        if self._handle is not None:
            self._handle.cancel()

    def _listen(self) -> None:
        now = self._loop.time()
        left = self._beats.at + self._seconds - now
        if left <= 0:
            self.timer.reschedule(now)
            self._handle = self._loop.call_at(now + max(self._seconds, PATIENCE), self._left)
            return
        self._due = now + min(left, self._seconds / LOOKS)
        self._handle = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        if self._over:
            return
        now = self._loop.time()
        late = now - self._due
        if late > self._seconds / LOOKS:
            self._beats.at = min(now, self._beats.at + late)
        self._listen()

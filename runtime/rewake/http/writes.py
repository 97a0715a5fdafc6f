"""What is written beside answers: how long one waits for it, and how much strangers can cause."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from rewake.records import Millis

_MINUTE: Millis = 60_000


class Writes:
    """The writes that are under way. Each tells by itself if it fails."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def begin(self, write: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin one, which goes on whoever gives up waiting for it."""
        task = asyncio.ensure_future(write)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def close(self, patience: float) -> None:
        """Wait for those under way, so many seconds at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=patience)


@dataclass(slots=True)
class _Minute:
    """What came of one name in a minute, and was left out since one was let through."""

    since: Millis
    admitted: int = 0
    left_out: int = 0


class FewAMinute:
    """Lets `few` of each name through in a minute, and counts the others.

    `most`: so many names are known at once, where there is no other bound.
    """

    def __init__(self, few: int, most: int | None = None) -> None:
        self._few = few
        self._most = most
        self._minutes: dict[str, _Minute] = {}

    def admit(self, name: str, now: Millis) -> int | None:
        """Whether one is let through: how many before it were not; None: it is left out."""
        found = self._minutes.get(name)
        if found is None:
            if len(self._minutes) == self._most:
                self._minutes.pop(next(iter(self._minutes)))
            found = self._minutes[name] = _Minute(now)
        if not 0 <= now - found.since < _MINUTE:
            found.since, found.admitted = now, 0
        if found.admitted >= self._few:
            found.left_out += 1
            return None
        found.admitted += 1
        more, found.left_out = found.left_out, 0
        return more

    def left_out(self) -> dict[str, int]:
        """How many were left out since one was let through, of each name."""
        return {name: each.left_out for name, each in self._minutes.items() if each.left_out}

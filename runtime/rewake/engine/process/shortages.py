"""Shortages of the machine: of memory, files, or threads.

A shortage is nobody's mistake and passes: the work that met it is released, and begun again a
little later, here or elsewhere. The longer the shortage lasts, the longer that is; and whoever
watches the server is told of it for a while.
"""

from __future__ import annotations

import errno

from rewake.clock import Clock
from rewake.records import Millis
from rewake.values.failures import described

WAIT = 2_000
"""Milliseconds before work that met a shortage is offered again, at first."""
LONGEST = 30_000
"""The longest of those waits; shorter than `RECENT`, so that a shortage that lasts is one."""
RECENT = 60_000
"""For how long a shortage is told of after it was last met."""

_NAMES = {
    errno.EMFILE: "files",
    errno.ENFILE: "files",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
    errno.EAGAIN: "threads",
}


def shortage(error: BaseException) -> str | None:
    """What the machine is short of, if this error says that: `memory`, `files` or `threads`."""
    if isinstance(error, OSError):
        return _NAMES.get(error.errno or 0)
    if isinstance(error, MemoryError):
        return "memory"
    return "threads" if "can't start new thread" in described(error) else None


class Shortages:
    """The shortages that the work of this process has met."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._name = ""
        self._first: Millis = 0
        self._last: Millis = -RECENT

    @property
    def recent(self) -> str | None:
        """What the machine was short of within the last minute."""
        return self._name if self._is_recent(self._clock.now()) else None

    def meet(self, name: str) -> Millis:
        """Note a shortage. Returns how long the work that met it waits: as long as it has lasted.

        However much work meets it at once, none waits longer than it would alone.
        """
        now = self._clock.now()
        if not self._is_recent(now):
            self._first = now
        self._name, self._last = name, now
        return min(max(WAIT, now - self._first), LONGEST)

    def _is_recent(self, now: Millis) -> bool:
        # A clock that was set back must not keep it for longer.
        return 0 <= now - self._last < RECENT

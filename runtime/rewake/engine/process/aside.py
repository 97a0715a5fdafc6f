"""What is left alone for a while that grows each time, so that it does not hold up the rest."""

from __future__ import annotations

from collections.abc import Container
from typing import Generic, TypeVar

from rewake.clock import Clock
from rewake.records import Millis

K = TypeVar("K")

MAX_TIMES = 16
"""Times are counted up to this number."""


class Aside(Generic[K]):
    """Things by key: each is left alone for `first` ms, then twice as long, up to `longest`."""

    def __init__(self, clock: Clock, first: Millis, longest: Millis) -> None:
        self._clock = clock
        self._first = first
        self._longest = longest
        self._kept: dict[K, tuple[Millis, int]] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: K) -> bool:
        """Whether it is to be left alone now."""
        until, _ = self._kept.get(key, (0, 0))
        # A clock that was set back must not keep anything aside.
        return 0 < until - self._clock.now() <= self._longest

    def times(self, key: K) -> int:
        """How often it was put aside, up to `MAX_TIMES`."""
        return self._kept.get(key, (0, 0))[1]

    def put(self, key: K) -> None:
        """Leave it alone from now on, for longer than the last time."""
        _, times = self._kept.pop(key, (0, 0))
        wait = min(self._first * 2**times, self._longest)
        self._kept[key] = (self._clock.now() + wait, min(times + 1, MAX_TIMES))

    def drop(self, key: K) -> None:
        """Forget it."""
        self._kept.pop(key, None)

    def drop_oldest(self) -> None:
        """Forget what was put aside longest ago."""
        self._kept.pop(next(iter(self._kept)))

    def keep(self, keys: Container[K]) -> None:
        """Forget all others."""
        self._kept = {key: kept for key, kept in self._kept.items() if key in keys}

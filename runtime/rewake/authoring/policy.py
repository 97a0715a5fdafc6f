"""When a failed attempt is tried again, and how long one may take.

An attempt *fails* by an exception or by running out of time; that uses up a retry. An attempt that
is *lost* with its process does not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypedDict

from rewake.errors import NonRetryable, RetryAfter

Seconds = float | timedelta
RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class Options(TypedDict, total=False):
    """What may be said of a task or a step; durations in seconds, or a `timedelta`.

    `retries`: further attempts after the first. `delay`: the wait before the first retry;
    each further wait is `multiplier` times longer, up to `max_delay`, and shortened at random
    by up to `jitter` (a share, 0 to 1) so that retries spread out. `retry_on`: exception types,
    or a predicate, that a failure must match to be retried (a time-out always does).
    `timeout`: per attempt. `total_timeout`: over all attempts and waits.
    """

    retries: int
    delay: Seconds
    multiplier: float
    max_delay: Seconds
    jitter: float
    retry_on: RetryOn
    timeout: Seconds | None
    total_timeout: Seconds | None


class TaskOptions(Options, total=False):
    """Options of a task: those of every operation, and its `name` in the app."""

    name: str


def seconds(duration: Seconds) -> float:
    """A duration in seconds."""
    return duration.total_seconds() if isinstance(duration, timedelta) else float(duration)


def millis(duration: Seconds) -> int:
    """A duration in milliseconds, rounded up: a wait is never shorter than asked for."""
    exact = seconds(duration) * 1000
    whole = int(exact)
    return whole if whole == exact else whole + 1


@dataclass(frozen=True, slots=True)
class Policy:
    """`Options`, checked and with their defaults."""

    retries: int = 0
    delay: Seconds = 1.0
    multiplier: float = 2.0
    max_delay: Seconds = 60.0
    jitter: float = 0.5
    retry_on: RetryOn = Exception
    timeout: Seconds | None = None
    total_timeout: Seconds | None = None

    def __post_init__(self) -> None:
        _check(self.retries >= 0, "retries", "0 or more")
        _check(seconds(self.delay) >= 0, "delay", "0 or more")
        _check(self.multiplier >= 1, "multiplier", "1 or more")
        _check(seconds(self.max_delay) >= 0, "max_delay", "0 or more")
        _check(0 <= self.jitter <= 1, "jitter", "between 0 and 1")
        for name in ("timeout", "total_timeout"):
            duration = getattr(self, name)
            _check(duration is None or seconds(duration) > 0, name, "more than 0")

    def retries_after(self, error: BaseException, failed: int) -> bool:
        """Whether another attempt follows the `failed`-th failed one, which ended in `error`."""
        if failed > self.retries or isinstance(error, NonRetryable):
            return False
        if isinstance(error, TimeoutError | RetryAfter):
            return True
        if isinstance(self.retry_on, type | tuple):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))

    def wait_after(self, error: BaseException, failed: int, chance: float) -> float:
        """The wait in seconds before the next attempt; `chance` is a random number, 0 to 1."""
        if isinstance(error, RetryAfter):
            return error.seconds
        longest = seconds(self.max_delay)
        growth: float = self.multiplier ** min(failed - 1, 64)
        wait = min(seconds(self.delay) * growth, longest)
        return wait * (1 - self.jitter * chance)


def _check(holds: bool, name: str, want: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {want}")

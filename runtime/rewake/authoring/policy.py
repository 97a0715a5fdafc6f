"""Policies: whether and when a failed attempt is tried again, and how long one may take.

An attempt *fails* by an exception or a time-out, which uses up a retry. An attempt that is *lost*
uses up none: with its process, or because it fell silent. Of both nobody knows how far they came,
and neither says anything of the next one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from math import ceil, inf, isfinite
from typing import TypedDict, cast

from rewake.errors import AttemptOver, NonRetryable, RetryAfter, TaskError, UsageError
from rewake.values.failures import described

Seconds = float | timedelta
_LONGEST = 10 * 365 * 86_400.0
"""The longest wait between two attempts, in seconds."""

RetryOn = type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], bool]


class Options(TypedDict, total=False):
    """The options of a task or a step; durations are seconds, or a `timedelta`.

    `retries`: further attempts after the first. `delay`: the wait before the first retry;
    each further wait is `multiplier` times longer, up to `max_delay`, and shortened at random
    by up to `jitter` (a share, 0 to 1) so that retries spread out. `retry_on`: exception types,
    or a predicate, that a failure must match to be retried; a time-out and `RetryAfter` always
    are, `NonRetryable` never. Around operations (of a block, or a body) a `TaskError` is matched by
    the name of its `type`.
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


def seconds(duration: Seconds) -> float:
    """A duration in seconds. Raises `ValueError` for one that is infinite, or no number.

    And `TypeError` for what is none, as text or a bool.
    """
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    try:
        if not isinstance(duration, bool) and isfinite(duration):
            return float(duration)
    except TypeError:
        pass
    except OverflowError:
        raise ValueError("a duration must be finite, and this is too large") from None
    if isinstance(duration, float):
        raise ValueError(f"a duration must be finite, not {duration}")
    raise TypeError(f"a duration is a number of seconds, or a timedelta, not {duration!r}")


def millis(duration: Seconds) -> int:
    """A duration in milliseconds, rounded up: a wait is never shorter than asked for."""
    if isinstance(duration, timedelta):
        return -(-(duration // timedelta.resolution) // 1000)
    # Less than a nanosecond past a millisecond is a float's rounding: it must not round up.
    return ceil(seconds(duration) * 1000 - 1e-6)


def positive(name: str, duration: Seconds | None) -> int | None:
    """The duration that an option gives, in milliseconds; None if it gives none.

    Raises `ValueError` unless it is more than 0.
    """
    if duration is None:
        return None
    _check(seconds(duration) > 0, name, "more than 0")
    return millis(duration)


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
    heartbeat: Seconds | None = None
    """Of a task: how long an attempt may be silent."""

    def __post_init__(self) -> None:
        _check(_is_count(self.retries), "retries", "0 or more, and whole")
        _check(_decides(self.retry_on), "retry_on", _RETRY_ON)
        for name in ("delay", "max_delay", "timeout", "total_timeout", "heartbeat"):
            _check_duration(name, getattr(self, name))
        _check(seconds(self.delay) >= 0, "delay", "0 or more")
        _check(1 <= self.multiplier < inf, "multiplier", "1 or more, and finite")
        _check(seconds(self.max_delay) >= 0, "max_delay", "0 or more")
        _check(0 <= self.jitter <= 1, "jitter", "between 0 and 1")
        for name in ("timeout", "total_timeout", "heartbeat"):
            duration = getattr(self, name)
            _check(duration is None or seconds(duration) > 0, name, "more than 0")

    def limit(self, elapsed: float) -> float | None:
        """The seconds that an attempt that begins now may take; None: any number.

        The first attempt began `elapsed` seconds ago.
        """
        if self.timeout is None and self.total_timeout is None:
            return None  # as mostly
        limits = [] if self.timeout is None else [seconds(self.timeout)]
        if self.total_timeout is not None:
            limits.append(max(0.0, seconds(self.total_timeout) - elapsed))
        return min(limits)

    def late(self, elapsed: float, before: str) -> str:
        """The message for such an attempt that takes longer; it names the option.

        `before` is how the attempt before failed; empty if there was none.
        """
        limit = self.limit(elapsed)
        if self.timeout is not None and limit == seconds(self.timeout):
            return f"the attempt took longer than its timeout of {limit:g} s"
        if self.total_timeout is None:
            return ""
        said = f"its total_timeout of {seconds(self.total_timeout):g} s was over"
        return f"{said}; the attempt before failed with {before}" if before else said

    def next(
        self, error: BaseException, failed: int, *, elapsed: float, chance: float
    ) -> float | None:
        """The wait in seconds before the next attempt; None: it has failed for good.

        `error` ended the attempt, the `failed`-th to fail; the first began `elapsed` seconds ago.
        `chance` is a random number from 0 to 1.
        """
        if not self._retries(error, failed):
            return None
        return self._within(self._wait(error, failed, chance), elapsed)

    @property
    def silence(self) -> float | None:
        """How many seconds an attempt may be silent; None: as long as it takes."""
        return None if self.heartbeat is None else seconds(self.heartbeat)

    def after_silence(
        self, silent: int, least: int, *, elapsed: float, chance: float
    ) -> float | None:
        """The same for an attempt that fell silent, the `silent`-th in a row.

        As many may as there are `retries`, or `least` if that is more.
        """
        if silent >= max(least, self.retries + 1):
            return None
        return self._within(self._wait(None, silent, chance), elapsed)

    def after_loss(self, failed: int, *, elapsed: float, chance: float) -> float | None:
        """The same for a try that is not repeated, and was lost with its process.

        No exception says why, so `retry_on` is not asked.
        """
        if failed > self.retries:
            return None
        return self._within(self._wait(None, failed, chance), elapsed)

    def _within(self, wait: float, elapsed: float) -> float | None:
        wait, total = min(wait, _LONGEST), self.total_timeout
        return None if total is not None and elapsed + wait >= seconds(total) else wait

    def _retries(self, error: BaseException, failed: int) -> bool:
        if failed > self.retries or isinstance(error, UsageError | AttemptOver):
            return False
        if _is_one(error, NonRetryable):
            return False
        if _is_one(error, (TimeoutError, RetryAfter)):
            return True
        if isinstance(self.retry_on, type | tuple):
            return _is_one(error, self.retry_on)
        try:
            return bool(self.retry_on(error))
        except KeyboardInterrupt:
            raise
        except BaseException as mistake:
            # The operation's own error counts, with a note of this one.
            with suppress(Exception):  # an exception of the user's own may refuse it
                error.add_note(f"retry_on failed on it, so it is not retried: {described(mistake)}")
            return False

    def _wait(self, error: BaseException | None, failed: int, chance: float) -> float:
        if isinstance(error, RetryAfter):
            return max(0.0, error.seconds)
        delay, longest = seconds(self.delay), seconds(self.max_delay)
        wait = longest if delay else 0.0
        with suppress(OverflowError):
            wait = min(delay * float(self.multiplier) ** (failed - 1), longest)
        return wait * (1 - self.jitter * chance)


_RETRY_ON = "an exception type, a tuple of them, or a function of the exception that is not async"


def _is_one(
    error: BaseException, kinds: type[BaseException] | tuple[type[BaseException], ...]
) -> bool:
    """Whether an error is of one of these types.

    Of the error of an operation, which a block or a body lets through, only the name of the type is
    recorded: it is one of them, or of those that are known below them.
    """
    if isinstance(error, kinds):
        return True
    return isinstance(error, TaskError) and error.type in _names_below(kinds)


def _names_below(kinds: type[BaseException] | tuple[type[BaseException], ...]) -> set[str]:
    left, names = list(kinds) if isinstance(kinds, tuple) else [kinds], set[str]()
    while left:
        kind = left.pop()
        names.add(kind.__name__)
        left += kind.__subclasses__()
    return names


def _decides(retry_on: object) -> bool:
    """Whether it can tell which failures are retried."""
    kinds = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    if all(isinstance(each, type) and issubclass(each, BaseException) for each in kinds):
        return True
    return callable(retry_on) and not (
        isinstance(retry_on, type) or inspect.iscoroutinefunction(retry_on)
    )


def _is_count(given: object) -> bool:
    whole = isinstance(given, int) or (isinstance(given, float) and given % 1 == 0)
    return whole and not isinstance(given, bool) and cast("float", given) >= 0


def _check_duration(name: str, duration: Seconds | None) -> None:
    """Raise what is wrong with a duration, with the option's name before it."""
    if duration is None:
        return
    try:
        seconds(duration)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None


def _check(holds: bool, name: str, want: str) -> None:
    if not holds:
        raise ValueError(f"{name} must be {want}")


DEFAULT = Policy()
"""The policy without options: one attempt, without a time-out."""

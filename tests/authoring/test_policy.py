"""When a failed attempt is tried again, and after how long."""

from __future__ import annotations

import asyncio
import itertools
import math
import pickle
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rewake import NonRetryable, RetryAfter, TaskError, step, task, workflow
from rewake.authoring.policy import Policy, millis, seconds
from rewake.errors import AppError, AttemptOver, NotInARun


def wait_after(
    policy: Policy,
    error: BaseException,
    failed: int = 1,
    *,
    elapsed: float = 0,
    chance: float = 0.5,
) -> float | None:
    return policy.next(error, failed, elapsed=elapsed, chance=chance)


def test_retries_are_counted() -> None:
    """`retries=n` means n further attempts after the first; the default is none."""
    assert wait_after(Policy(), ValueError()) is None
    policy = Policy(retries=2, jitter=0)
    assert [wait_after(policy, ValueError(), failed) for failed in (1, 2, 3)] == [1, 2, None]


@pytest.mark.parametrize(
    ("retry_on", "error", "retried"),
    [
        (Exception, ValueError(), True),
        (ValueError, ValueError(), True),
        (ValueError, KeyError(), False),
        (LookupError, KeyError(), True),
        ((ValueError, KeyError), KeyError(), True),
        ((), KeyError(), False),
        (lambda error: "again" in str(error), ValueError("again"), True),
        (lambda error: "again" in str(error), ValueError("never"), False),
        (ValueError, TimeoutError(), True),
        (ValueError, RetryAfter(1), True),
        (Exception, NonRetryable(), False),
        (Exception, AttemptOver(), False),
        (NonRetryable, NonRetryable(), False),
        (lambda error: True, NonRetryable(), False),
        (Exception, NotInARun(), False),
        (Exception, KeyboardInterrupt(), False),
    ],
    ids=itertools.count(),
)
def test_retry_on(retry_on: Any, error: BaseException, retried: bool) -> None:
    """By type, tuple or predicate; a time-out always, `NonRetryable` and wrong use never.

    Nor what is called inside of an attempt that is over.
    """
    policy = Policy(retries=1, retry_on=retry_on)
    assert (wait_after(policy, error) is not None) is retried


def test_waits_grow_up_to_a_limit() -> None:
    """Each wait is `multiplier` times the one before, up to `max_delay`."""
    policy = Policy(retries=10_000, delay=1, multiplier=3, max_delay=20, jitter=0)
    waits = [wait_after(policy, ValueError(), failed, chance=0.9) for failed in range(1, 6)]
    assert waits == [1, 3, 9, 20, 20]
    assert wait_after(policy, ValueError(), 10_000) == 20


def test_retry_after() -> None:
    """`RetryAfter` sets the wait, past `max_delay` too, but never below zero or for ever."""
    policy = Policy(retries=1, max_delay=1)
    assert wait_after(policy, RetryAfter(90)) == 90
    assert wait_after(policy, RetryAfter(timedelta(minutes=1))) == 60
    assert wait_after(policy, RetryAfter(-5)) == 0
    assert millis(wait_after(policy, RetryAfter(math.inf)) or 0) > 0
    assert wait_after(policy, RetryAfter(math.nan)) == 0


@given(
    st.floats(0, 1e6),
    st.floats(1, 1e6),
    st.floats(0, 1e6),
    st.floats(0, 1),
    st.integers(1, 5000),
    st.floats(0, 1, exclude_max=True),
)
def test_waits_are_bounded(
    delay: float, multiplier: float, most: float, jitter: float, failed: int, chance: float
) -> None:
    """A wait is between its undisturbed length less the share of `jitter`, and that length."""
    policy = Policy(retries=5000, delay=delay, multiplier=multiplier, max_delay=most, jitter=jitter)
    whole = wait_after(replace(policy, jitter=0), ValueError(), failed, chance=chance)
    wait = wait_after(policy, ValueError(), failed, chance=chance)
    assert wait is not None
    assert whole is not None
    assert 0 <= whole * (1 - jitter) <= wait <= whole <= most


@given(st.floats(0.001, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))
def test_a_total_timeout_bounds_waits_and_attempts(
    total: float, elapsed: float, delay: float
) -> None:
    """No attempt is begun that would start at its end or after, and none may outlast it."""
    policy = Policy(retries=1, delay=delay, max_delay=1e6, jitter=0, total_timeout=total)
    wait = wait_after(policy, ValueError(), elapsed=elapsed)
    assert (wait is None) == (elapsed + delay >= total)
    limit = policy.limit(elapsed)
    assert limit == max(0.0, total - elapsed)


def test_an_attempt_may_take_the_shorter_of_its_limits() -> None:
    """`timeout` is per attempt, `total_timeout` over all; without either there is no limit."""
    assert Policy().limit(10**6) is None
    assert Policy(timeout=3).limit(10**6) == 3
    both = Policy(timeout=3, total_timeout=timedelta(seconds=10))
    assert [both.limit(elapsed) for elapsed in (0, 8, 11)] == [3, 2, 0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retries": -1}, "retries must be 0 or more"),
        ({"delay": -1}, "delay"),
        ({"retries": True}, "retries must be 0 or more, and whole"),
        ({"retries": "1"}, "retries must be 0 or more, and whole"),
        ({"delay": math.nan}, "delay: a duration must be finite, not nan"),
        ({"delay": 10**400}, "delay: a duration must be finite"),
        ({"multiplier": 0.5}, "multiplier"),
        ({"multiplier": math.inf}, "multiplier"),
        ({"max_delay": -1}, "max_delay"),
        ({"max_delay": math.inf}, "finite"),
        ({"jitter": 1.5}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"timeout": 0}, "timeout must be more than 0"),
        ({"timeout": timedelta(0)}, "timeout"),
        ({"timeout": math.inf}, "finite"),
        ({"total_timeout": -1}, "total_timeout"),
        ({"retries": 1.5}, "retries must be 0 or more, and whole"),
        ({"retry_on": 3}, "retry_on"),
        ({"retry_on": [ValueError]}, "retry_on"),
        ({"retry_on": ValueError | KeyError}, "retry_on"),
        ({"retry_on": int}, "retry_on"),
        ({"retry_on": (ValueError, "KeyError")}, "retry_on"),
        pytest.param({"retry_on": asyncio.sleep}, "retry_on", id="async"),
    ],
    ids=str,
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    """An option out of range raises `ValueError` where the task is made, and names it."""
    with pytest.raises(ValueError, match=message):
        task(**options)(print)


@pytest.mark.parametrize(
    ("kind", "retry_on", "retried"),
    [
        ("NonRetryable", Exception, False),
        ("ValueError", Exception, True),
        ("ConnectionError", ConnectionError, True),
        ("ConnectionRefusedError", (KeyError, ConnectionError), True),
        ("ValueError", ConnectionError, False),
        ("ValueError", TaskError, True),
        ("TimeoutError", ConnectionError, True),
        ("Unknown", (), False),
        ("ValueError", lambda error: error.type == "ValueError", True),
    ],
)
def test_the_error_of_an_operation_is_matched_by_its_name(
    kind: str, retry_on: Any, retried: bool
) -> None:
    """Around operations, of a block or a body, the type that a task failed with decides."""
    policy = Policy(retries=1, delay=1, jitter=0, retry_on=retry_on)
    assert wait_after(policy, TaskError("no", type=kind)) == (1 if retried else None)


@pytest.mark.parametrize("given", ["5", True, b"1"])
def test_a_duration_of_another_type_is_refused(given: Any) -> None:
    """By a `TypeError` that names the option."""
    with pytest.raises(TypeError, match="timeout: a duration is a number of seconds"):
        task(timeout=given)(print)


class Refuses(ValueError):
    """An exception that takes no notes."""

    def add_note(self, note: str, /) -> None:
        raise RuntimeError(note)


@pytest.mark.parametrize("mistake", [SystemExit(3), GeneratorExit(), KeyError("x")], ids=repr)
@pytest.mark.parametrize("error", [ValueError("own"), Refuses("own")], ids=repr)
def test_a_predicate_that_raises_retries_nothing(mistake: BaseException, error: ValueError) -> None:
    """The operation's own error counts, whatever `retry_on` raises on it."""

    def broken(_: BaseException) -> bool:
        raise mistake

    assert wait_after(Policy(retries=3, retry_on=broken), error) is None


def test_no_delay_is_none_after_any_number_of_attempts() -> None:
    """A factor that no float can hold does not make a wait of nothing the longest one."""
    policy = Policy(retries=10_000, delay=0, multiplier=3)
    assert wait_after(policy, ValueError(), 10_000) == 0


def test_unknown_options_are_refused() -> None:
    """An option that does not exist raises `TypeError`."""
    with pytest.raises(TypeError, match="retrys"):
        task(retrys=3)(print)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="nope"):
        step("s", print, nope=3).send(None)  # type: ignore[call-overload]


async def nothing() -> None: ...


def test_decorators_refuse_what_they_are_not_for() -> None:
    """`@task` takes callables, `@workflow` async functions, with a message that says so."""
    with pytest.raises(AppError, match="functions"):
        task(3)  # type: ignore[call-overload]
    with pytest.raises(AppError, match="async functions"):
        workflow(len)  # type: ignore[arg-type]
    for made in (task(nothing), workflow(nothing)):
        with pytest.raises(AppError, match="async functions"):
            workflow(made)
    with pytest.raises(ValueError, match="timeout"):
        workflow(timeout=0)(nothing)


@pytest.mark.parametrize(
    ("duration", "whole"),
    [
        (1, 1000),
        (0.1, 100),
        (0.0001, 1),
        (0.0, 0),
        (-0.0005, 0),
        (-1, -1000),
        (1.001, 1001),
        (2.3, 2300),
        (0.069, 69),
        (64.1, 64_100),
        (timedelta(microseconds=1), 1),
        (timedelta(microseconds=-1), 0),
        (timedelta(days=36_500), 36_500 * 86_400_000),
        (timedelta.max, 86_400_000_000_000_000),
        (timedelta(milliseconds=7, microseconds=1), 8),
    ],
    ids=str,
)
def test_millis(duration: float | timedelta, whole: int) -> None:
    """Milliseconds are rounded up, and not by the rounding of floats."""
    assert millis(duration) == whole


class Busy(RetryAfter):
    def __init__(self, host: str, *, delay: float) -> None:
        super().__init__(delay, f"{host} is busy")
        self.host = host


@pytest.mark.parametrize("error", [RetryAfter(3, "later"), RetryAfter(4), Busy("a", delay=5)])
def test_retry_after_is_pickled(error: RetryAfter) -> None:
    """Where a pool of processes raises it, the task that has called the pool can raise it on."""
    found = pickle.loads(pickle.dumps(error))
    assert (type(found), str(found), vars(found)) == (type(error), str(error), vars(error))


@given(st.integers(-(10**9), 10**9))
def test_whole_milliseconds_are_kept(number: int) -> None:
    """A whole number of milliseconds stays what it is, as a float of seconds and a `timedelta`."""
    assert millis(number / 1000) == number
    assert millis(timedelta(milliseconds=number)) == number
    assert seconds(timedelta(milliseconds=number)) == number / 1000

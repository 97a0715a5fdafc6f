"""Options of limits: what cannot be is refused when an app is loaded, and says which and why."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from rewake import batch, concurrency, debounce, rate, singleton, task, workflow
from rewake.authoring.limits import Rules, by_tenant
from rewake.errors import AppError, UsageError

loosely: Any = workflow
limit: Any = concurrency

BAD_NUMBERS: list[Callable[[], Any]] = [
    lambda: concurrency(0),
    lambda: concurrency(-1),
    lambda: concurrency(True),
    lambda: concurrency(1001),
    lambda: concurrency(1.5),  # type: ignore[arg-type]
    lambda: concurrency("2"),  # type: ignore[arg-type]
    lambda: concurrency(2, name="n" * 65),
    lambda: concurrency(2, name=3),  # type: ignore[arg-type]
    lambda: rate(0, per=1),
    lambda: rate(True, per=1),
    lambda: rate(1, per=0),
    lambda: rate(1, per=-1),
    lambda: rate(1, per=True),
    lambda: rate(1, per=float("nan")),
    lambda: rate(1, per=float("inf")),
    lambda: rate(1, per=10**9),
    lambda: rate(10**8, per=1),
    lambda: rate(1, per=1, burst=0),
    lambda: rate(1, per=1, burst=False),
    lambda: singleton("queue"),  # type: ignore[arg-type]
    lambda: debounce(0),
    lambda: debounce(-1),
    lambda: debounce(True),
    lambda: debounce(10, longest=5),
    lambda: batch(1, within=1),
    lambda: batch(True, within=1),
    lambda: batch(5, within=0),
    lambda: batch(10_001, within=1),
    lambda: task(priority=101)(len),
    lambda: task(priority=True)(len),
    lambda: task(priority=1.5)(len),  # type: ignore[call-overload]
]


@pytest.mark.parametrize("make", BAD_NUMBERS)
def test_a_number_out_of_range_is_refused(make: Callable[[], Any]) -> None:
    """Also a flag, a fraction, and what is no number at all."""
    with pytest.raises(ValueError, match=r"\w"):
        make()


async def body(items: list[int]) -> None:
    """A workflow's function."""


async def two(one: int, other: int) -> None:
    """Another one."""


async def async_key(one: int) -> str:
    return str(one)


BAD_SHAPES: list[tuple[str, Callable[[], Any]]] = [
    ("limits= of two is made by", lambda: loosely(limits=[3])(two)),
    ("limits= of two is made by", lambda: loosely(limits=[singleton("skip")])(two)),
    ("limits= of two is a list", lambda: loosely(limits="two")(two)),
    ("throttle= of two is made by", lambda: loosely(throttle=concurrency(1))(two)),
    ("has 5 limits", lambda: loosely(limits=[concurrency(1)] * 5)(two)),
    ("singleton= each say", lambda: loosely(singleton="skip", debounce=debounce(1))(two)),
    ("each say", lambda: loosely(batch=batch(2, within=1), debounce=debounce(1))(body)),
    ("takes one list", lambda: loosely(batch=batch(2, within=1))(two)),
    ("asks for 'three'", lambda: loosely(limits=concurrency(1, key=lambda three: three))(two)),
    ("no \\*args", lambda: limit(1, key=lambda *args: "a")),
    ("must not be async", lambda: limit(1, key=async_key)),
    ("is a function", lambda: limit(1, key="one")),
]


@pytest.mark.parametrize(("told", "make"), BAD_SHAPES)
def test_what_cannot_be_is_refused(told: str, make: Callable[[], Any]) -> None:
    """The message names the option and the function, and says how it is made."""
    with pytest.raises(AppError, match=told):
        make()


def test_an_unknown_word_for_a_singleton_is_refused() -> None:
    """It is told which there are."""
    with pytest.raises(ValueError, match='"skip" or "cancel"'):
        loosely(singleton="queue")(two)


def rules(key: Any) -> Rules:
    """The limits of a workflow with this key."""
    found = workflow(limits=concurrency(1, key=key))(two).rules
    assert found is not None
    return found


@pytest.mark.parametrize(
    "made",
    [None, True, b"a", ["a"], "", "a" * 1025, float("nan"), float("inf"), {"a": 1}],
)
def test_a_key_is_text_or_a_number(made: object) -> None:
    """Nothing, a flag, a container, an empty or a huge text are the caller's clear error."""
    with pytest.raises(UsageError, match="key= of concurrency of two"):
        rules(lambda one: made).terms({"one": 1}, tenant="", veil=lambda _: "")


def test_a_number_that_python_does_not_write_is_no_key() -> None:
    """It is refused as a text that is too long is, before it becomes one."""
    with pytest.raises(UsageError, match="more than 1024 digits"):
        rules(lambda one: 10**one).terms({"one": 5000}, tenant="", veil=lambda _: "")


def test_a_key_that_fails_is_the_callers_error() -> None:
    """It names the limit and what was raised."""
    with pytest.raises(UsageError, match="failed: ZeroDivisionError"):
        rules(lambda one: 1 // one).terms({"one": 0}, tenant="", veil=lambda _: "")


@pytest.mark.parametrize("made", ["a", "é" * 300, "\ud800", "a\0b", "🐍", 0, -1, 1.5, "a" * 1024])
def test_any_text_can_be_a_key(made: Any) -> None:
    """What is long is cut for people, and told apart all the same."""
    [one] = rules(lambda one: made).terms({"one": 1}, tenant="", veil=lambda _: "").limits
    longer = rules(lambda one: f"{made}x"[-1024:])
    [other] = longer.terms({"one": 1}, tenant="", veil=lambda _: "").limits
    assert one.id != other.id
    assert len(one.key.encode()) <= 48


def test_keys_are_hidden_where_values_are() -> None:
    """Behind a codec nothing of a key is readable, and it is the same in every run."""
    veil = {"zoe": "0123456789abcdef"}.__getitem__
    [one] = rules(lambda one: one).terms({"one": "zoe"}, tenant="", veil=veil).limits
    [two_] = rules(lambda one: one).terms({"one": "zoe"}, tenant="t", veil=veil).limits
    assert "zoe" not in repr(one)
    assert one.id == two_.id


def test_a_key_takes_defaults_and_the_tenant() -> None:
    """A parameter that is left out has its default; `by_tenant` is the tenant."""

    async def call(one: int, kind: str = "plain") -> None: ...

    found = workflow(limits=concurrency(1, key=lambda kind: kind))(call).rules
    assert found is not None
    assert found.terms({"one": 1}, tenant="", veil=lambda _: "").limits[0].key == "plain"
    assert rules(by_tenant).terms({}, tenant="t1", veil=lambda _: "").limits[0].key == "t1"


def test_limits_of_one_function_are_told_apart() -> None:
    """Two limits whose keys give the same text are two, unless they share a name."""
    named = concurrency(1, key=lambda one: one, name="n")
    limits = [concurrency(1, key=lambda one: one), concurrency(1, key=lambda other: other), named]
    found = workflow(limits=[*limits, named])(two).rules
    assert found is not None
    terms = found.terms({"one": "a", "other": "a"}, tenant="", veil=lambda _: "")
    assert len({limit.id for limit in terms.limits}) == 3


def test_a_task_with_limits_travels() -> None:
    """A closure that captured it is sent with its limits."""
    made = task(limits=concurrency(2, name="n"), priority=3)(len)
    again = pickle.loads(pickle.dumps(made.rules))
    assert again == made.rules
    assert rate(1, per=timedelta(seconds=2)).per == 2_000

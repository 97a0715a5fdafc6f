"""`cache=` of a task: what cannot be is refused as it is made, and which calls are the same."""

from __future__ import annotations

import copy
import functools
import pickle
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta, timezone
from math import inf, nan, sqrt
from pathlib import Path, PureWindowsPath
from typing import Any
from uuid import UUID

import msgspec
import pytest
from pydantic import BaseModel, PrivateAttr

from rewake import task
from rewake.authoring.limits import by_tenant, concurrency
from rewake.errors import AppError, UsageError
from rewake.limited import LimitKind, cached_by
from rewake.values.digests import Indistinct, exact_digest

loosely: Any = task
NUMBERS = (0, -1, True, nan, inf, 10**10, "1h", timedelta(0), timedelta(days=-1), timedelta(400))


NOW = object()


def scaled(by: int) -> Callable[..., Any]:
    """A decorator that is given something."""

    def around(function: Callable[..., int]) -> Callable[..., int]:
        @functools.wraps(function)
        def call(x: int) -> int:
            return by * function(x)

        return call

    return around


def first(number: int) -> int:
    return number


def second(number: int) -> int:
    return number


def asked(made: Any, tenant: str = "", **arguments: Any) -> str:
    """The id of what is cached of a call."""
    terms = made.rules.terms(arguments, tenant=tenant, veil=lambda _: "")
    found = cached_by(terms)
    assert found is not None
    return found.id


@pytest.mark.parametrize("cache", NUMBERS, ids=str)
def test_a_time_that_cannot_be_is_refused(cache: Any) -> None:
    """Also a flag, and a text; the error names the option and the task."""
    with pytest.raises(ValueError, match="cache of first"):
        loosely(cache=cache)(first)


@pytest.mark.parametrize("version", [True, 1.5, [], "v" * 201, b"1"], ids=str)
def test_a_version_is_a_number_or_a_text(version: Any) -> None:
    """A flag or a fraction is none; and a version alone caches nothing."""
    with pytest.raises(ValueError, match="cache_version of first"):
        loosely(cache=1, cache_version=version)(first)
    with pytest.raises(AppError, match="cache_version of first is for a task with cache="):
        loosely(cache_version=1)(first)


def test_what_a_function_captures_would_not_be_compared() -> None:
    """A closure with variables of its own, a partial and a callable object are refused."""
    variable = 3
    for function in (lambda: variable, functools.partial(first, 1), Point(1)):
        with pytest.raises(AppError, match="cache= of"):
            loosely(cache=1)(function)


def test_what_nobody_can_read_needs_a_version() -> None:
    """The text of what is built in is not there: without a version no change would be noticed."""
    with pytest.raises(AppError, match=r"cache= of sqrt: .* give cache_version="):
        loosely(cache=1)(sqrt)
    one, two = (loosely(cache=1, cache_version=each)(sqrt) for each in (1, 2))
    assert asked(one, x=2) != asked(two, x=2)


def made_by(text: str) -> Callable[..., Any]:
    """A function that has no text, but what was made of it."""
    there: dict[str, Any] = {"__name__": "made"}
    exec(text, there)
    found: Callable[..., Any] = there["f"]
    return found


def test_another_text_is_another_task() -> None:
    """A changed function, name or version is given nothing of before; the same one is."""
    again = asked(task(cache=60)(first), number=1)
    assert asked(task(cache=60)(first), number=1) == again
    assert asked(task(cache=timedelta(hours=2))(first), number=1) == again
    for other in (
        asked(task(cache=60)(first), number=2),
        asked(task(cache=60)(first), number=True),
        asked(task(cache=60)(first), tenant="acme", number=1),
        asked(task(cache=60)(second), number=1),
        asked(task(cache=60, name="other")(first), number=1),
        asked(task(cache=60, cache_version=1)(first), number=1),
        asked(task(cache=60, cache_version="1")(first), number=1),
    ):
        assert other != again
    texts = ["def f(x):\n return x", "def f(x):\n return -x", "def f(x):\n return [n for n in x]"]
    texts.append("def f(x):\n return [-n for n in x]")
    assert len({asked(task(cache=60)(made_by(text)), x=1) for text in texts}) == 4


@pytest.mark.parametrize(
    ("text", "given"),
    [
        ("def f(x, rate=NOW): return x * rate", {}),
        ("def f(x, rate=NOW): return x * rate", {"rate": NOW}),
        ("def f(x, *, rate=NOW): return x * rate", {}),
        ("@scaled(NOW)\ndef f(x): return x", {}),
    ],
)
def test_what_a_deploy_changes_beside_the_text_is_another_task(
    text: str, given: dict[str, Any]
) -> None:
    """A default that is made elsewhere, also if just that is given; what a decorator is given."""
    asked_by = set()
    for now in (1, 2):
        there: dict[str, Any] = {"__name__": "made", "NOW": now, "scaled": scaled}
        exec(text, there)
        made = loosely(cache=60, name="f")(there["f"])
        how = {name: now for name, each in given.items() if each is NOW}
        asked_by.add(asked(made, **made.arguments((1,), how)))
    assert len(asked_by) == 2


def test_what_only_equals_a_default_is_not_taken_for_it() -> None:
    """`(True,)` is `(1,)` to Python, and 0.0 is -0.0."""
    for value, default in (((True,), (1,)), (-0.0, 0.0), ([1.0], [1])):

        def given(value: Any = default) -> Any:
            return value

        made = task(cache=60)(given)
        assert made.arguments((value,), {}) == {"value": value}
        assert made.arguments((default,), {}) == made.arguments((), {}) == {}
        assert made.arguments((copy.copy(default),), {}) == {}


def test_other_limits_are_as_they_were() -> None:
    """A cached task keeps its limits and priority, and may be pickled with them."""
    made = task(cache=60, limits=concurrency(2, key=by_tenant), priority=3)(first)
    terms = made.rules.terms({"number": 1}, tenant="acme", veil=lambda _: "")  # type: ignore[union-attr]
    assert [limit.kind for limit in terms.limits] == [LimitKind.CONCURRENCY, LimitKind.CACHE]
    assert terms.priority == 3
    assert (
        terms.share
        == task(limits=concurrency(2, key=by_tenant))(first)
        .rules.terms(  # type: ignore[union-attr]
            {"number": 1}, tenant="acme", veil=lambda _: ""
        )
        .share
    )
    assert pickle.loads(pickle.dumps(made.rules)) == made.rules


@dataclass
class Point:
    x: int
    y: Any = 0

    def __call__(self) -> int:
        return self.x


class Texts(list[str]):
    """A list with more than its texts."""


def more_than_texts() -> Texts:
    """A list that says more than its texts do."""
    made = Texts("a")
    made.more = 1  # type: ignore[attr-defined]
    return made


def in_a_circle() -> list[Any]:
    """A list that is in itself."""
    made: list[Any] = []
    made.append(made)
    return made


class Sub(Point):
    """A dataclass with more than its fields."""

    def __init__(self, more: int) -> None:
        super().__init__(1)
        self.more = more


class Loose(msgspec.Struct, dict=True):
    x: int = 1


def loosely_more() -> Loose:
    """A struct with more than its fields."""
    made = Loose()
    made.more = 1  # type: ignore[attr-defined]
    return made


class Slotted(str):
    """A text with more than that."""

    __slots__ = ("more",)


def slotted() -> Slotted:
    """Such a text."""
    made = Slotted("a")
    made.more = 1  # type: ignore[attr-defined]
    return made


def local() -> type:
    """A class that is another one with each call."""

    class Made:
        pass

    return Made


class Hidden(BaseModel):
    x: int = 1
    _more: int = PrivateAttr(0)


def hidden(more: int) -> Hidden:
    """A model with something private."""
    made = Hidden()
    made._more = more
    return made


def elsewhere(module: str, text: str) -> Any:
    """What `made` is in a module of such a text."""
    there: dict[str, Any] = {"__name__": module}
    exec(text, there)
    return there["made"]


PAIR = "import msgspec\nclass P(msgspec.Struct):\n y: int = {0}\nmade = P({0})"
ENUM = "import enum\nclass E(enum.Enum):\n A = {0}\nmade = E.A"


@pytest.mark.parametrize(
    "value",
    [
        *(object(), [object()], Point(1, object()), first, lambda: 1, Point(1).__eq__),
        *(more_than_texts(), in_a_circle(), ValueError("x"), iter(())),
        *(Sub(1), loosely_more(), slotted(), local()),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_no_text_of_its_own_has_no_exact_digest(value: Any) -> None:
    """Objects, functions, and what is more than its class tells: none stands for another."""
    with pytest.raises(Indistinct) as caught:
        exact_digest({"one": 1, "value": value})
    assert caught.value.where == "value"


@pytest.mark.parametrize("one", [UUID(int=1), Path("/a"), PureWindowsPath("a/b")])
def test_ids_and_paths_are_told_by_their_text(one: Any) -> None:
    """Whatever they have made of it meanwhile, such as their hash; another one is another."""
    same = exact_digest({"x": Point(1, one)})
    assert len({one, copy.copy(one)}) == len({str(one)})  # that makes hashes, which paths keep
    assert exact_digest({"x": Point(1, one)}) == same
    assert exact_digest({"x": Point(1, pickle.loads(pickle.dumps(one)))}) == same
    others = [exact_digest({"x": Point(1, each)}) for each in (str(one), UUID(int=2), Path("/b"))]
    assert len({same, *others}) == 4


def test_values_that_differ_have_digests_that_differ() -> None:
    """By type and by content, also deep inside; the same ones have the same, in any order."""
    values = [1, 1.0, True, "1", b"1", None, [1], {1}, {"1": 1}, {1: 1}, Point(1), Point(1, 1), int]
    values += [
        timedelta(1),
        timedelta(2),
        nan,
        -0.0,
        0.0,
        "",
        [[1]],
        {"a": Point(2)},
        "12",
        b"\x12",
    ]
    values += [hidden(1), hidden(2), Hidden()]
    values += [OrderedDict(a=1, b=2), OrderedDict(b=2, a=1), defaultdict(int), defaultdict(list)]
    values += [timezone(timedelta(hours=each), "X") for each in (1, 2)]
    values += [elsewhere("a.m", text.format(each)) for text in (PAIR, ENUM) for each in (1, 2)]
    values += [elsewhere("b.m", text.format(1)) for text in (PAIR, ENUM)]
    assert len({exact_digest({"value": value}) for value in values}) == len(values)
    assert exact_digest({"a": 1, "b": {"c": 1, "d": 2}}) == exact_digest(
        {"b": {"d": 2, "c": 1}, "a": 1}
    )
    assert exact_digest({"a": "1,b:2"}) != exact_digest({"a": "1", "b": 2})


def test_a_call_that_cannot_be_told_apart_says_which_argument() -> None:
    """The error names the task, the type and the argument."""
    with pytest.raises(UsageError, match=r"cache= of first: .*object.* \(in 'number'\)"):
        asked(task(cache=60)(first), number=object())

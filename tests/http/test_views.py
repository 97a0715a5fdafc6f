import dataclasses
import math
from typing import Any

import msgspec
import pytest

import rewake.errors
from rewake.errors import RewakeError
from rewake.http.problems import PROBLEMS, problem_of
from rewake.states import RunState
from rewake.views.moments import moment
from rewake.views.runs import STATES
from rewake.views.values import rendered


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@dataclasses.dataclass
class Point:
    x: int


def loop() -> list[Any]:
    """A list that holds itself."""
    looped: list[Any] = []
    looped.append(looped)
    return looped


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Point(3), {"x": 3}),
        ({1: "a"}, {"1": "a"}),
        ((1, 2), [1, 2]),
        (math.nan, None),
        (2**80, 2**80),
        (b"ab", "YWI="),
    ],
)
def test_rendered(value: object, shown: object) -> None:
    """What has a form in JSON is shown in it."""
    assert msgspec.json.decode(rendered(value)) == shown


@pytest.mark.parametrize(
    "value", [loop(), "\ud800", {(1, 2): 3}, Hostile(), object, ["x" * 10_000, object()]]
)
def test_rendered_whatever_it_is(value: object) -> None:
    """A value that cannot be shown never makes a page fail."""
    msgspec.json.decode(rendered(value))


def test_a_long_repr_is_cut() -> None:
    """A description is a line, not a page."""

    class Long:
        def __repr__(self) -> str:
            return "x" * 10_000

    assert len(msgspec.json.decode(rendered(Long()))["repr"]) == 500


@pytest.mark.parametrize(
    ("millis", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000_001, "2023-11-14T22:13:20.001Z"),
        (10**18, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_moments(millis: int, text: str) -> None:
    """Times are RFC 3339, in UTC, to the millisecond, whatever the year."""
    assert moment(millis) == text


def test_states() -> None:
    """Each state but that of a stone has a word of its own, and no user reads `parked`."""
    assert set(STATES) == set(RunState) - {RunState.REMOVED}
    assert len(set(STATES.values())) == len(STATES)
    assert "parked" not in STATES.values()


def test_every_error_has_a_status() -> None:
    """Every error of Rewake's becomes a problem; what is not a client's is a bare 500."""
    kinds = [getattr(rewake.errors, name) for name in rewake.errors.__all__]
    for kind in (kind for kind in kinds if issubclass(kind, RewakeError)):
        error = kind(1) if kind is rewake.errors.RetryAfter else kind("a secret detail")
        response = problem_of(error)
        known = any(issubclass(kind, each) for each in PROBLEMS)
        assert (response.status_code == 500) is not known
        if response.status_code >= 500:
            assert b"secret" not in response.body

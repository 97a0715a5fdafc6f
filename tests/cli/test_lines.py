from __future__ import annotations

import pytest

from rewake.cli.lines import duration, lines_of, pattern
from rewake.kinds import Kind
from rewake.views.moments import moment
from rewake.views.runs import ErrorView
from rewake.views.timeline import OperationView

NOW = 1_700_000_000_000


def operation(key: str, state: str, kind: Kind = Kind.TASK, **details: object) -> OperationView:
    """An operation that was asked for 1.5 seconds ago."""
    ended = moment(NOW) if state in ("done", "failed") else None
    view = OperationView(key, kind, key, state, asked=moment(NOW - 1500), ended=ended)
    view.duration = 1500 if ended else None
    for name, value in details.items():
        setattr(view, name, value)
    return view


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (-5, "0 ms"),
        (999, "999 ms"),
        (1_500, "1.5 s"),
        (61_000, "1 min 1 s"),
        (7_500_000, "2 h 5 min"),
        (90_000_000, "1 d 1 h"),
    ],
)
def test_durations_are_said_as_people_do(milliseconds: int, said: str) -> None:
    """Two units at most, from milliseconds to days."""
    assert duration(milliseconds) == said


def test_a_few_are_shown_one_by_one() -> None:
    """Each with its state, how long it has been, and what else matters."""
    failed = ErrorView("ValueError", "no\nmore")
    lines = lines_of(
        [
            operation("fetch", "running"),
            operation("save", "retrying", due=moment(NOW + 2000), attempts=2, error=failed),
            operation("nap", "waiting", Kind.TIMER, due=moment(NOW + 60_000)),
            operation("ok", "waiting", Kind.APPROVAL),
            operation("old", "done"),
        ],
        NOW,
    )
    assert [(line.label, line.said, line.time, line.note) for line in lines] == [
        ("fetch", "running", "1.5 s", ""),
        ("save", "retrying", "1.5 s", "attempt 2; 2.0 s left; ValueError: no"),
        ("nap", "sleeping", "", "1 min 0 s left"),
        ("ok", "to be decided", "1.5 s", ""),
        ("old", "done", "1.5 s", ""),
    ]


def test_many_alike_are_counted() -> None:
    """A thousand branches are one line; so is a loop."""
    states = ["running", "done", "done", "failed", "waiting", "done"]
    operations = [operation(f"parallel[{n}]/fetch", state) for n, state in enumerate(states)]
    operations += [operation(f"poll.{n}", "done") for n in range(2, 8)]
    lines = lines_of(operations, NOW)
    assert [(line.label, line.said) for line in lines] == [
        ("parallel[*]/fetch ×6", "1 running, 1 queued, 1 failed, 3 done"),
        ("poll ×6", "6 done"),
    ]


@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("fetch", "fetch"),
        ("fetch.12", "fetch"),
        ("one[3]/fetch.2", "one[*]/fetch"),
        ("parallel.2[7]/a%2Eb", "parallel[*]/a%2Eb"),
    ],
)
def test_keys_of_one_place_have_one_pattern(key: str, place: str) -> None:
    """Branch numbers and counts are what differs between keys of one place in the program."""
    assert pattern(key) == place

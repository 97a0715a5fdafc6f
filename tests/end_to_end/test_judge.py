"""The judge of the end-to-end suite finds what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import httpx2
import pytest

from tests.end_to_end.front import Front
from tests.end_to_end.judge import World, faults

RUN = "r1"
TRIES = [{"attempt": 1}, {"attempt": 2}]


class Told(Front):
    """A front that is answered with one history."""

    def __init__(self, entries: list[Any], operations: list[Any]) -> None:
        super().__init__(cast(httpx2.Client, None), Path())
        self.history = {"entries": entries, "operations": operations}

    def get(self, path: str) -> Any:
        return self.history


def body(attempt: int, pid: int = 1) -> dict[str, Any]:
    return {"run": RUN, "key": "a", "attempt": attempt, "pid": pid}


@pytest.mark.parametrize(
    ("begun", "ended", "outcomes", "told"),
    [
        ([body(1), body(2)], [body(2)], 1, ""),
        ([body(1), body(1)], [body(1)], 1, "began 2 times"),
        ([body(1), body(1, pid=7)], [body(1)], 1, ""),
        ([body(1), body(2), body(3)], [body(2)], 1, "began again after it had ended"),
        ([body(1)], [body(1), body(1)], 1, "ended 2 times"),
        ([body(1)], [body(1)], 2, "has 2 outcomes"),
    ],
)
def test_the_judge(begun: list[Any], ended: list[Any], outcomes: int, told: str) -> None:
    """Doubled attempts, repetitions of what had ended, and second outcomes are told; what a server
    that stood still began is not.
    """
    entries = [{"type": "completed", "key": "a"}] * outcomes
    front = Told(entries, [{"key": "a", "ended": "then", "tries": TRIES}])
    world = World({RUN: begun}, {RUN: ended})
    found = list(faults(front, [RUN], world, paused={7}, calm=True))
    assert len(found) == bool(told)
    assert all(told in each for each in found)

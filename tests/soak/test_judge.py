"""A soak is no better than its judgement."""

from __future__ import annotations

from typing import Any

from tests.soak.harms import LEASE, Harm
from tests.soak.judge import faults
from tests.soak.load import Ended
from tests.soak.notes import Note


def ended(result: Any = 3, state: str = "done") -> Ended:
    return Ended("run-1", state, result, 3, None)


def twice(first: float, second: float) -> dict[str, list[Note]]:
    return {"run-1 double": [Note("begun", first, 7), Note("begun", second, 8)]}


def test_a_wrong_end_is_told() -> None:
    """Another result, or a state that is not done, is wrong."""
    assert list(faults([ended()], {}, [])) == []
    assert len(list(faults([ended(4)], {}, []))) == 1
    assert len(list(faults([ended(None, "failed")], {}, []))) == 1


def test_a_second_beginning_wants_harm_of_the_first() -> None:
    """Harm to another process, or before or after, is no reason to begin again."""
    notes = twice(10, 20)
    assert len(list(faults([], notes, []))) == 1
    assert list(faults([], notes, [Harm("kill", 7, 12, 13)])) == []
    assert list(faults([], notes, [Harm("lock", 0, 12, 13)])) == []
    assert len(list(faults([], notes, [Harm("kill", 8, 12, 13)]))) == 1
    assert len(list(faults([], notes, [Harm("kill", 7, 21, 22)]))) == 1
    assert len(list(faults([], notes, [Harm("kill", 7, 1, 9 - LEASE)]))) == 1


def test_who_was_paused_on_the_way_to_a_body_begins_it_after_the_other() -> None:
    """Between its last look and the body's first line no process can know that it was paused."""
    notes = twice(10, 20)
    assert list(faults([], notes, [Harm("pause", 8, 9, 19.5 + LEASE)])) == []
    assert len(list(faults([], notes, [Harm("pause", 8, 9, 18 + LEASE)]))) == 1
    assert len(list(faults([], notes, [Harm("pause", 8, 11, 19.5 + LEASE)]))) == 1
    assert len(list(faults([], notes, [Harm("stop", 8, 9, 19.5 + LEASE)]))) == 1


def test_a_failure_between_two_beginnings_excuses_the_second() -> None:
    """It is an attempt of its own."""
    begun, again = twice(10, 20)["run-1 double"]
    notes = {"run-1 double": [begun, Note("raised", 11, 7), again]}
    assert list(faults([], notes, [])) == []


def test_what_died_too_often_may_fail() -> None:
    """A task whose process was killed each time is lost, and its run fails."""
    notes = {"run-1 double": [Note("begun", at, pid) for at, pid in ((1, 7), (5, 8), (9, 9))]}
    harms = [Harm("kill", pid, at, at + 1) for at, pid in ((2, 7), (6, 8), (10, 9))]
    assert list(faults([ended(None, "failed")], notes, harms)) == []
    assert len(list(faults([ended(None, "failed")], notes, harms[:2]))) == 1

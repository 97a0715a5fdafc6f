"""A representative part of the sweep, or a sample; `python -m tests.kill --all` has the rest."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kill.fleet import ONE, SHAPES, SPREAD, TWO
from tests.kill.plan import EVERYTHING, OTHERS, PLANS, functions
from tests.kill.points import AFTER, BEFORE, Kill
from tests.kill.scenario import Seen, carry_out_all, judge
from tests.kill.stories import STORIES, Endless, Everything, Guarded, Story
from tests.support.sampling import sampled

Unkilled = Callable[[type[Story]], dict[str, Seen]]
OF_EVERYTHING = {
    "tasks": [
        2,
        "LOUD",
        ["closure", 1],
        "erusolc",
        ["closure", 2],
        ["closure", 3],
        50_000,
        "in the end",
    ],
    "steps": [1, 50_000, "in the end", ["slow", "WHILE A STEP RUNS", 2]],
    "branches": [[[0, 1, 0], [2, 3, 1], [4, 5, 2], [6, 7, 3]], 42, "rested"],
    "asyncio": [["10", "NonRetryable: gathered"], 12, "GROUPED", True],
    "failures": ["TimeoutError", "NonRetryable: in a group"],
    "once": "kept",
    "groups": [6, [0, 4]],
    "limits": [1, 2],
    "cached": [3, 3],
    "approval": ["approved", {"amount": 3}, "Bob"],
    "callback": [7],
    "children": [3, 2],
    "signals": [1, 2],
    "the end": "NonRetryable",
    "cleanup": "clean",
    "same": [True, True, True, True],
}


_OF_THREE_LAPS = [1, 13, 2, [60, 70, "CancelledError", 2], 3, [1, "on"], "the last"]
OF_ENDLESS = {
    "result": _OF_THREE_LAPS,
    "fork": _OF_THREE_LAPS,
    "delayed": [5, 5],
    "answer": ["accepted", 2],
    "collected": [1, 2],
    "settled": 2,
    "cart": [1, 2],
    "heard": [54, 63],
    "ticked": True,
}
OF_GUARDED = {
    "result": {
        "which": "lap2/which",
        "paced": [1, 2],
        "seldom": [1, "Throttled"],
        "asleep": "CancelledError",
        "told": 7,
    },
    "alone": 1,
    "rare": [True, False, True],
    "singleton": [1, 3],
    "newest": ["cancelled", ["a", 2]],
    "told": [[True], [True]],
    "left out": True,
    "years": ["2001", "2002"],
    "archived": [404, 5],
}
EXPECTED: dict[type[Story], dict[str, Any]] = {
    Everything: OF_EVERYTHING,
    Endless: OF_ENDLESS,
    Guarded: OF_GUARDED,
}
OFTEN = {
    Everything: {"flaky", "stubborn", "hang", "pages[0]/pages"},  # they fail, or fall silent
    Endless: {"heard", "lap3/last", "delayed"},  # of two runs
    Guarded: set[str](),
}
GATHERED = {"collected", "settled"}
"""The bodies of two runs, where starts that are gathered come too late after each other."""


def named(case: tuple[type[Story], object]) -> str:
    """What a case is called."""
    story, *points = case
    return " ".join([story.workflow, *map(str, points)])


@pytest.fixture(scope="session")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> Unkilled:
    """What is seen of a story when nobody dies, by shape."""
    known: dict[type[Story], dict[str, Seen]] = {}

    def of(story: type[Story]) -> dict[str, Seen]:
        if story not in known:
            folder = tmp_path_factory.mktemp(story.workflow)
            seen = carry_out_all(folder, [(shape, ()) for shape in SHAPES], story=story)
            known[story] = dict(zip(SHAPES, seen, strict=True))
        return known[story]

    return of


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.workflow)
def test_unkilled(unkilled: Unkilled, story: type[Story]) -> None:
    """With nobody dying, the workflow ends as written, and each body begins as often as written."""
    for seen in unkilled(story).values():
        assert seen.result == EXPECTED[story]
        often = {key for key, count in seen.begun.items() if count != 1}
        assert often - GATHERED == OFTEN[story]


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.workflow)
def test_nothing_is_left_out(unkilled: Unkilled, story: type[Story]) -> None:
    """Every kind of call, every body and every wait of an unkilled run is among the points."""
    plan = PLANS[story.workflow]
    known = {*plan.calls, *EVERYTHING.calls, *OTHERS}
    for seen in unkilled(story).values():
        found = seen.calls
        parts = {kind: {call for call in found if call.startswith(f"{kind}.")} for kind in KINDS}

        assert parts["store"] | parts["table"] | parts["dispatch"] <= known
        assert {call for call, number in plan.calls.items() if found[call] < number} == set()
        assert functions(call[len("body.") :] for call in parts["body"]) == functions(plan.bodies)
        assert {call[len("wait.") :] for call in parts["wait"]} == set(plan.waits)


KINDS = ("store", "table", "dispatch", "body", "wait")
CALLS = [(story, call) for story in STORIES for call in PLANS[story.workflow].calls]
INSIDE = [(story, kill) for story in STORIES for kill in PLANS[story.workflow].inside]


@pytest.mark.parametrize("case", sampled(CALLS, every=16, long=4), ids=named)
def test_calls(
    tmp_path: Path, unkilled: Unkilled, whole: bool, case: tuple[type[Story], str]
) -> None:
    """A server that dies before or after a call changes nothing: one process, or two on a file."""
    story, call = case
    points = list(itertools.product([ONE, SPREAD], PLANS[story.workflow].before_and_after(call)))
    if not whole:  # of neighbours each dies at another one
        points = [points[CALLS.index(case) % len(points)]]
    check(tmp_path, unkilled, story, points)


@pytest.mark.parametrize("case", sampled(INSIDE, every=16, long=4), ids=named)
def test_bodies(
    tmp_path: Path, unkilled: Unkilled, whole: bool, case: tuple[type[Story], Kill]
) -> None:
    """A server that dies inside a task, step or wait changes nothing but how often that begins."""
    story, kill = case
    shapes = [ONE, TWO] if whole else [(ONE, TWO)[INSIDE.index(case) % 2]]
    check(tmp_path, unkilled, story, [(shape, kill) for shape in shapes])


PAUSE = 3.0
"""Seconds: three leases."""
PAUSES = [
    (Everything, Kill("store", "park", 3, AFTER)),
    (Everything, Kill("store", "deliver", 5, BEFORE)),
    (Everything, Kill("table", "together", 25, AFTER)),
    (Everything, Kill("body", "double")),
    (Everything, Kill("body", "step[0]/slow")),
    (Everything, Kill("wait", "approval")),
    (Endless, Kill("store", "next_lap", 1, BEFORE)),
    (Endless, Kill("body", "held")),
    (Endless, Kill("wait", "event")),
    (Guarded, Kill("store", "enter", 3, AFTER)),
]


@pytest.mark.parametrize("case", sampled(PAUSES, every=len(PAUSES)), ids=named)
def test_pauses(tmp_path: Path, unkilled: Unkilled, case: tuple[type[Story], Kill]) -> None:
    """A server that stops for three leases and goes on changes nothing, alone or beside another."""
    story, kill = case
    check(tmp_path, unkilled, story, [(ONE, kill), (TWO, kill)], pause=PAUSE)


PAIRS = [
    (Everything, Kill("body", "double"), Kill("body", "double", 2)),
    (Everything, Kill("store", "park", 2, AFTER), Kill("store", "claim", 2, BEFORE)),
    (Everything, Kill("body", "stubborn"), Kill("wait", "approval")),
    (Everything, Kill("table", "together", 20, BEFORE), Kill("table", "together", 40, AFTER)),
    (Endless, Kill("store", "next_lap", 1, AFTER), Kill("store", "next_lap", 2, BEFORE)),
    (Endless, Kill("body", "held"), Kill("body", "lap2/pay")),
    (Guarded, Kill("store", "next_lap", 1, AFTER), Kill("body", "lap2/which")),
]


@pytest.mark.parametrize("case", sampled(PAIRS, every=len(PAIRS)), ids=named)
def test_two_deaths_in_one_run(
    tmp_path: Path, unkilled: Unkilled, case: tuple[type[Story], Kill, Kill]
) -> None:
    """A second death, in the middle of what the first left, changes no more than one does."""
    story, *kills = case
    (seen,) = carry_out_all(tmp_path, [(ONE, kills)], story=story)

    assert seen.killed == 2
    judge(seen, unkilled(story)[ONE], str(kills))


def check(
    folder: Path,
    unkilled: Unkilled,
    story: type[Story],
    points: list[tuple[str, Kill]],
    pause: float | None = None,
) -> None:
    """Carry out all of these scenarios at once, and judge each."""
    each = [(shape, [kill]) for shape, kill in points]
    found = carry_out_all(folder, each, pause, story=story)
    for (shape, kill), seen in zip(points, found, strict=True):
        assert seen.killed == 1, f"{shape}: nobody got to {kill}"
        judge(seen, unkilled(story)[shape], f"{shape}, {kill}")

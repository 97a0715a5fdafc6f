"""A representative part of the sweep, or a sample; `python -m tests.kill --all` has the rest."""

import itertools
from pathlib import Path

import pytest

from tests.kill.fleet import ONE, SHAPES, SPREAD, TWO
from tests.kill.plan import BODIES, CALLS, OTHERS, WAITS, before_and_after, chosen_bodies, functions
from tests.kill.points import AFTER, BEFORE, Kill
from tests.kill.scenario import Seen, carry_out_all, judge
from tests.support.sampling import sampled

EXPECTED = {
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


@pytest.fixture(scope="session")
def unkilled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Seen]:
    """What is seen when nobody dies, by shape."""
    folder = tmp_path_factory.mktemp("unkilled")
    seen = carry_out_all(folder, [(shape, ()) for shape in SHAPES])
    return dict(zip(SHAPES, seen, strict=True))


@pytest.mark.parametrize("shape", SHAPES)
def test_unkilled(unkilled: dict[str, Seen], shape: str) -> None:
    """With nobody dying, the workflow ends as written, and each body begins as often as written."""
    seen = unkilled[shape]

    assert seen.result == EXPECTED
    again = {"flaky", "stubborn", "hang", "pages[0]/pages"}  # they fail, or fall silent
    assert {key for key, count in seen.begun.items() if count != 1} == again


@pytest.mark.parametrize("shape", SHAPES)
def test_nothing_is_left_out(unkilled: dict[str, Seen], shape: str) -> None:
    """Every kind of call, every body and every wait of an unkilled run is among the points."""
    found = unkilled[shape].calls
    parts = {kind: {call for call in found if call.startswith(f"{kind}.")} for kind in KINDS}

    assert parts["store"] | parts["table"] | parts["dispatch"] <= CALLS.keys() | OTHERS
    assert all(found[call] >= number for call, number in CALLS.items())
    assert functions(call[len("body.") :] for call in parts["body"]) == functions(BODIES)
    assert {call[len("wait.") :] for call in parts["wait"]} == set(WAITS)


KINDS = ("store", "table", "dispatch", "body", "wait")


@pytest.mark.parametrize("call", sampled(CALLS, every=8))
def test_calls(tmp_path: Path, unkilled: dict[str, Seen], whole: bool, call: str) -> None:
    """A server that dies before or after a call changes nothing: one process, or two on a file."""
    points = list(itertools.product([ONE, SPREAD], before_and_after(call)))
    if not whole:  # of neighbours each dies at another one
        points = [points[list(CALLS).index(call) % len(points)]]
    check(tmp_path, unkilled, points)


@pytest.mark.parametrize("kill", sampled(chosen_bodies(), every=8), ids=str)
def test_bodies(tmp_path: Path, unkilled: dict[str, Seen], whole: bool, kill: Kill) -> None:
    """A server that dies inside a task, step or wait changes nothing but how often that begins."""
    shapes = [ONE, TWO] if whole else [(ONE, TWO)[chosen_bodies().index(kill) % 2]]
    check(tmp_path, unkilled, [(shape, kill) for shape in shapes])


PAUSE = 3.0
"""Seconds: three leases."""
PAUSES = [
    Kill("store", "park", 3, AFTER),
    Kill("store", "deliver", 5, BEFORE),
    Kill("table", "together", 25, AFTER),
    Kill("body", "double"),
    Kill("body", "step[0]/slow"),
    Kill("wait", "approval"),
]


@pytest.mark.parametrize("kill", sampled(PAUSES, every=len(PAUSES)), ids=str)
def test_pauses(tmp_path: Path, unkilled: dict[str, Seen], kill: Kill) -> None:
    """A server that stops for three leases and goes on changes nothing, alone or beside another."""
    check(tmp_path, unkilled, [(ONE, kill), (TWO, kill)], pause=PAUSE)


PAIRS = [
    (Kill("body", "double"), Kill("body", "double", 2)),
    (Kill("store", "park", 2, AFTER), Kill("store", "claim", 2, BEFORE)),
    (Kill("body", "stubborn"), Kill("wait", "approval")),
    (Kill("table", "together", 20, BEFORE), Kill("table", "together", 40, AFTER)),
]


@pytest.mark.parametrize("kills", sampled(PAIRS, every=len(PAIRS)), ids=str)
def test_two_deaths_in_one_run(
    tmp_path: Path, unkilled: dict[str, Seen], kills: tuple[Kill, Kill]
) -> None:
    """A second death, in the middle of what the first left, changes no more than one does."""
    (seen,) = carry_out_all(tmp_path, [(ONE, kills)])

    assert seen.killed == 2
    judge(seen, unkilled[ONE], str(kills))


def check(
    folder: Path,
    unkilled: dict[str, Seen],
    points: list[tuple[str, Kill]],
    pause: float | None = None,
) -> None:
    """Carry out all of these scenarios at once, and judge each."""
    each = [(shape, [kill]) for shape, kill in points]
    for (shape, kill), seen in zip(points, carry_out_all(folder, each, pause), strict=True):
        assert seen.killed == 1, f"{shape}: nobody got to {kill}"
        judge(seen, unkilled[shape], f"{shape}, {kill}")

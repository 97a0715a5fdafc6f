"""What the simulation found of runs that wait for one another in a circle."""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulation.circling import SOON, holds
from tests.simulation.directed import GRACE, Stage, directed

PATROL = 60.0
"""Seconds until somebody has looked at a limit for which somebody waits."""


def told(stage: Stage) -> set[tuple[str, str]]:
    """The waits that have failed since they would have lasted for ever."""
    return stage.world.watch.circles.told


async def begin(stage: Stage, workflow: str, run: str, given: Mapping[str, object]) -> None:
    """Start a run of a ring, on p1."""
    await stage.ask(stage.p1, lambda engine: engine.start(workflow, dict(given), run=run))


@directed
async def test_who_lines_up_last_closes_a_circle_that_is_seen(stage: Stage) -> None:
    """The runs that hold the sides were looked at before, when those for which they wait had not
    lined up yet.
    """
    for side, other in (("a", "b"), ("b", "a")):
        given = {"side": side, "other": other, "call": "run"}
        await begin(stage, holds.name, f"side-{side}", given)
    runs, watch = stage.world.watch.runs, stage.world.watch
    await stage.within(SOON, lambda: len(watch.limits.known) == 2, "that both hold a side")
    gate = stage.hold(stage.p1, "enter", always=True)
    await stage.within(GRACE, lambda: len(runs) == 4, "that both have called")
    await stage.within(60, lambda: stage.world.seconds > 3 * GRACE, "the looks at both")
    gate.release()
    await stage.within(PATROL, lambda: bool(told(stage)), "that one is told")
    await stage.within(GRACE, lambda: all(each.over for each in runs.values()), "the end of all")
    assert len(told(stage)) == 1

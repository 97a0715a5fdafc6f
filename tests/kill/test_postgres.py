"""A sample of the sweep with PostgreSQL as the database; a database to each scenario."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from rewake.hosts.databases import Address
from tests.kill.fleet import ONE, SPREAD
from tests.kill.points import AFTER, BEFORE, Kill
from tests.kill.scenario import carry_out_all, judge
from tests.kill.stories import Endless, Everything, Guarded, Story
from tests.support.postgres import cluster, needs_postgres

pytestmark = [pytest.mark.long, needs_postgres]

POINTS = [
    (ONE, Kill("store", "park", 8, AFTER)),
    (ONE, Kill("table", "update", 9, AFTER)),
    (ONE, Kill("body", "step[0]/slow")),
    (SPREAD, Kill("store", "deliver", 6, BEFORE)),
    (SPREAD, Kill("table", "together", 40, AFTER)),
]
OF_ENDLESS = [
    (ONE, Kill("store", "next_lap", 1, AFTER)),
    (SPREAD, Kill("table", "put", 60, BEFORE)),
    (ONE, Kill("wait", "event")),
]
OF_GUARDED = [
    (ONE, Kill("store", "enter", 3, AFTER)),
    (SPREAD, Kill("store", "reserve", 2, AFTER)),
    (ONE, Kill("store", "hold_back", 1, BEFORE)),
    (ONE, Kill("store", "remove", 1, AFTER)),
]
STORIES = [
    (Everything, POINTS),
    (Endless, OF_ENDLESS),
    pytest.param(Guarded, OF_GUARDED, marks=pytest.mark.verify),
]


@pytest.mark.parametrize(("story", "points"), STORIES)
def test_a_killed_server_changes_nothing(
    tmp_path: Path, story: type[Story], points: list[tuple[str, Kill]]
) -> None:
    """Before and after calls, and inside a body: the run ends as if nobody had died."""
    scenarios = [(shape, [kill]) for shape, kill in points]
    with ExitStack() as stack:

        def place() -> Address:
            return Address(stack.enter_context(cluster().schema()))

        every = [(ONE, []), (SPREAD, []), *scenarios]
        one, spread, *seen = carry_out_all(tmp_path, every, place=place, story=story)
    unkilled = {ONE: one, SPREAD: spread}
    for (shape, kill), each in zip(points, seen, strict=True):
        assert each.killed == 1, f"{shape}: nobody got to {kill}"
        judge(each, unkilled[shape], f"{shape}, {kill}")

"""A sample of the sweep with DynamoDB and S3, on ministack: two servers on one table."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from rewake.hosts.databases import Address
from tests.kill.fleet import ONE, SPREAD, TWO
from tests.kill.points import AFTER, BEFORE, Kill
from tests.kill.scenario import carry_out_all, judge
from tests.kill.stories import Endless, Everything, Guarded, Story
from tests.support.aws import bucket_name, table_name

pytestmark = [pytest.mark.long, pytest.mark.timeout(300)]

POINTS = [
    (TWO, Kill("store", "park", 8, AFTER)),
    (ONE, Kill("table", "update", 9, AFTER)),
    (ONE, Kill("table", "put_blob", 1, AFTER)),
    (SPREAD, Kill("store", "deliver", 6, BEFORE)),
    (ONE, Kill("body", "step[0]/slow")),
]
OF_ENDLESS = [
    (TWO, Kill("store", "next_lap", 1, AFTER)),
    (ONE, Kill("table", "put", 60, BEFORE)),
]
OF_GUARDED = [
    (TWO, Kill("store", "enter", 3, AFTER)),
    (ONE, Kill("store", "let_begin", 1, AFTER)),
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
    table, bucket = table_name(), bucket_name()

    def place() -> Address:
        return Address(f"dynamodb://{table}/{uuid4().hex[:8]}", f"s3://{bucket}")

    scenarios = [(shape, [kill]) for shape, kill in points]
    # A few at once: a server takes a while to find out who it is to AWS.
    several = [(TWO, []), *scenarios]
    unkilled, *seen = [
        each
        for start in range(0, len(several), 3)
        for each in carry_out_all(
            tmp_path / str(start), several[start : start + 3], place=place, story=story
        )
    ]
    for (shape, kill), each in zip(points, seen, strict=True):
        assert each.killed == 1, f"{shape}: nobody got to {kill}"
        judge(each, unkilled, f"{shape}, {kill}")

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kill.fleet import ONE, SPREAD, TWO, Fleet
from tests.kill.points import Kill
from tests.kill.stories import follow, start
from tests.support.server import PATIENCE

LEASE, GRACE = 5.0, 4.0
"""The defaults, in seconds."""
IN_TIME = 10.0
WORK = {
    "one_task": Kill("body", "double"),
    "one_step": Kill("body", "only"),
    "one_sleep": Kill("wait", "sleep"),
}


@pytest.mark.long
def test_the_other_process_takes_over(tmp_path: Path) -> None:
    """A run whose process was killed is finished by another that lives within 10 s."""
    took = take_over(tmp_path, TWO, SPREAD)

    assert max(took.values()) < IN_TIME, took


def test_the_next_process_takes_over(tmp_path: Path) -> None:
    """A run whose process was killed is finished by the next that is started within 10 s."""
    took = take_over(tmp_path, ONE)

    assert max(took.values()) < IN_TIME, took


def take_over(folder: Path, *shapes: str) -> dict[str, float]:
    """The seconds from each death to the end of its run, by shape and workflow."""
    cases = [(shape, workflow) for shape in shapes for workflow in WORK]
    with ThreadPoolExecutor(len(cases)) as pool:
        times = pool.map(lambda case: _take_over(folder / "-".join(case), *case), cases)
        return {"-".join(case): took for case, took in zip(cases, times, strict=True)}


def _take_over(folder: Path, shape: str, workflow: str) -> float:
    with Fleet(folder, shape, [WORK[workflow]], lease=LEASE, grace=GRACE) as fleet:
        start(fleet, workflow)
        deadline = time.monotonic() + PATIENCE
        while not fleet.killed:
            assert time.monotonic() < deadline, "nobody dies"
            time.sleep(0.01)
        died = (folder / "dead-0").stat().st_mtime  # made just before
        follow(fleet)
        return time.time() - died

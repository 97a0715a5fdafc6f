"""`python -m tests.kill [--all]`: the sweep by hand, with a line for each point that failed."""

from __future__ import annotations

import argparse
import itertools
import os
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.kill.fleet import SHAPES
from tests.kill.plan import PLANS, every
from tests.kill.points import Kill
from tests.kill.scenario import Seen, carry_out, judge
from tests.kill.stories import STORIES, Story

KILLED, NOT_REACHED, FAILED = "killed", "not reached", "FAILED"


def main() -> int:
    """Sweep, and say how it went; the exit status."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="rewake-kill-"))
    _say(f"in {folder}")
    ends: Counter[str] = Counter()
    stories = [each for each in STORIES if each.workflow in (options.story or [each.workflow])]
    for story, shape in itertools.product(stories, options.shape or SHAPES):
        ends += _swept(folder, story, shape, options)
    _say(", ".join(f"{number} {end}" for end, number in sorted(ends.items())))
    return 1 if ends[FAILED] else 0


def _swept(
    folder: Path, story: type[Story], shape: str, options: argparse.Namespace
) -> Counter[str]:
    """How many scenarios of a story and shape ended in which way."""
    ends: Counter[str] = Counter()
    began, name = time.monotonic(), f"{story.workflow} {shape}"
    folder /= f"{story.workflow}-{shape}"
    unkilled = carry_out(folder / "unkilled", shape, story=story)
    points = list(every(unkilled.calls)) if options.all else PLANS[story.workflow].points
    points = [Kill.read(each) for each in options.at] or points[:: options.every]
    _say(f"{name}: {len(points)} points")
    swept = sweep(folder, story, shape, points, unkilled, options.jobs)
    for number, (kill, end) in enumerate(swept, 1):
        ends[end.partition(":")[0]] += 1
        if end.startswith(FAILED):
            _say(f"{name} {kill}: {end}")
        if number % 50 == 0:
            _say(f"{name}: {number} of {len(points)} after {time.monotonic() - began:.0f} s")
    return ends


def sweep(
    folder: Path, story: type[Story], shape: str, points: list[Kill], unkilled: Seen, jobs: int
) -> Iterator[tuple[Kill, str]]:
    """How each scenario ended, in the order of the points."""

    def one(numbered: tuple[int, Kill]) -> str:
        number, kill = numbered
        place = folder / str(number)
        try:
            seen = carry_out(place, shape, [kill], story=story)
            judge(seen, unkilled, str(kill))
        except Exception as error:
            place.mkdir(exist_ok=True, parents=True)
            (place / "error").write_text(traceback.format_exc())
            return f"{FAILED}: {str(error).partition(chr(10))[0]} (see {place / 'error'})"
        _remove(place)
        return KILLED if seen.killed else NOT_REACHED

    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(points, pool.map(one, enumerate(points)), strict=True)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.kill")
    parser.add_argument("--all", action="store_true", help="kill at every call")
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each n-th point")
    parser.add_argument("--at", action="append", default=[], metavar="POINT", help="as it is told")
    parser.add_argument("--story", action="append", choices=PLANS, help="which workflow")
    parser.add_argument("--shape", action="append", choices=SHAPES, help="which servers")
    parser.add_argument(
        "--jobs", type=int, default=2 * (os.cpu_count() or 1), help="how many at once"
    )
    return parser.parse_args()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.kill [--all]`: the sweep by hand, with a line for each point that failed."""

from __future__ import annotations

import argparse
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
from tests.kill.plan import CALLS, before_and_after, chosen_bodies, every
from tests.kill.points import Kill
from tests.kill.scenario import Seen, carry_out, judge

KILLED, NOT_REACHED, FAILED = "killed", "not reached", "FAILED"


def main() -> int:
    """Sweep, and say how it went; the exit status."""
    options = _options()
    folder = Path(tempfile.mkdtemp(prefix="rewake-kill-"))
    _say(f"in {folder}")
    ends: Counter[str] = Counter()
    for shape in options.shape or SHAPES:
        began = time.monotonic()
        unkilled = carry_out(folder / f"{shape}-unkilled", shape)
        points = list(every(unkilled.calls)) if options.all else list(_chosen())
        points = points[:: options.every]
        _say(f"{shape}: {len(points)} points")
        for number, (kill, end) in enumerate(
            sweep(folder, shape, points, unkilled, options.jobs), 1
        ):
            ends[end.partition(":")[0]] += 1
            if end.startswith(FAILED):
                _say(f"{shape} {kill}: {end}")
            if number % 50 == 0:
                _say(f"{shape}: {number} of {len(points)} after {time.monotonic() - began:.0f} s")
    _say(", ".join(f"{number} {end}" for end, number in sorted(ends.items())))
    return 1 if ends[FAILED] else 0


def _chosen() -> Iterator[Kill]:
    for call in CALLS:
        yield from before_and_after(call)
    yield from chosen_bodies()


def sweep(
    folder: Path, shape: str, points: list[Kill], unkilled: Seen, jobs: int
) -> Iterator[tuple[Kill, str]]:
    """How each scenario ended, in the order of the points."""

    def one(numbered: tuple[int, Kill]) -> str:
        number, kill = numbered
        place = folder / f"{shape}-{number}"
        try:
            seen = carry_out(place, shape, [kill])
            judge(seen, unkilled, str(kill))
        except Exception as error:
            place.mkdir(exist_ok=True)
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

"""What an endless run costs: the time of a lap and the memory of the process, as laps go by.

    python -m tests.bench.laps            2,000 laps, which takes a few seconds
    python -m tests.bench.laps 100000

Each lap is one step. Printed for each tenth: neither must grow.
"""

from __future__ import annotations

import asyncio
import itertools
import resource
import sys
import tempfile
import time
from pathlib import Path

from rewake import continue_as_new, step, workflow
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable

LAPS = 2_000
_MOMENTS: list[tuple[float, int]] = []


@workflow
async def turns_over(left: int, tenth: int) -> int:
    await step("one", lambda: None)
    if left % tenth == 0:
        _MOMENTS.append((time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
    if left:
        continue_as_new(left - 1, tenth)
    return left


async def measure(laps: int) -> None:
    """Run so many laps on a new file, and print what each tenth of them took."""
    app = App()
    app.add(turns_over)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "laps.db"
        dispatcher = InProcessDispatcher(SystemClock())
        engine = Engine(app, SqliteTable(file), dispatcher, Secret("a secret of the bench"))
        engine.open()
        try:
            header, _ = await engine.start("turns_over", {"left": laps, "tenth": laps // 10})
            await engine.result(header.run, 24 * 3600)
            size = file.stat().st_size // 1024
        finally:
            await engine.close()
    lines = [f"{laps:,} laps; the file has {size:,} KiB"]
    for (before, _), (after, memory) in itertools.pairwise(_MOMENTS):
        each = (after - before) / (laps // 10) * 1e6
        lines.append(f"  {each:7.0f} us a lap, {memory // 1024:,} MiB at most")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else LAPS))

"""What an endless run costs: processor time of a lap, memory and database, as laps go by.

    python -m tests.bench.laps            2,000 laps, which takes a few seconds
    python -m tests.bench.laps 100000
    python -m tests.bench.laps 20000 all  each with all that a lap can leave behind

Each lap is one step; with `all` also a task, an item of the stream, a line of the log, a status, a
label, a signal to itself and a block of a keyed state. Printed for each tenth: nothing may grow.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rewake import (
    continue_as_new,
    emit,
    send_signal,
    set_labels,
    set_status,
    state,
    step,
    task,
    task_context,
    wait_for_signal,
    workflow,
)
from rewake.app import App
from rewake.clock import SystemClock
from rewake.dispatchers.in_process import InProcessDispatcher
from rewake.engine.engine import Engine
from rewake.signing.secret import Secret
from rewake.stores.sqlite.table import SqliteTable

LAPS = 2_000
log = logging.getLogger(__name__)
_PAGES = Path("/proc/self/statm")
_Mark = tuple[float, int, int]
_marks: list[_Mark] = []
_note: list[Callable[[], None]] = []


@task
async def charged(left: int) -> int:
    task_context().logger.info("charged %d", left)
    return left


@workflow
async def turns_over(left: int, tenth: int, all: bool) -> int:
    def noted() -> str:
        if left % tenth == 0:
            _note[0]()
        return task_context().run

    run = await step("one", noted)
    if all:
        await _everything(left, run)
    if left:
        continue_as_new(left - 1, tenth, all)
    return left


async def _everything(left: int, run: str) -> None:
    await emit(await charged(left))
    log.info("lap %d", left)
    set_status(left)
    set_labels(odd=str(left % 2))
    await send_signal(run, "next", left)
    await wait_for_signal("next", type=int)
    async with state("laps", run) as held:
        held.value = left


def _mark(files: list[Path]) -> None:
    memory = int(_PAGES.read_text().split()[1]) * 4
    size = sum(file.stat().st_size for file in files if file.exists()) // 1024
    _marks.append((time.process_time(), memory, size))


async def measure(laps: int, *, all: bool) -> list[_Mark]:
    """Run so many laps on a new file: processor, memory (KiB) and file (KiB) at each tenth."""
    app, tenth = App(), laps // 10
    _marks.clear()
    for each in (turns_over, charged):
        app.add(each)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "laps.db"
        _note[:] = [lambda: _mark([file, Path(f"{file}-wal")])]
        dispatcher = InProcessDispatcher(SystemClock())
        engine = Engine(app, SqliteTable(file), dispatcher, Secret("a secret of the bench"))
        engine.open()
        try:
            given = {"left": laps, "tenth": tenth, "all": all}
            header, _ = await engine.start("turns_over", given)
            await engine.result(header.run, 24 * 3600)
        finally:
            await engine.close()
    return [*_marks]


async def grown(laps: int) -> tuple[float, float, float]:
    """Milliseconds of processor for a lap of the first tenth and of the last, and MiB between."""
    marks = await measure(laps, all=False)
    (began, least, _), (first, *_), *_, (before, *_), (ended, most, _) = marks
    tenth = laps // 10 / 1000
    return (first - began) / tenth, (ended - before) / tenth, (most - least) / 1024


async def _print(laps: int, *, all: bool) -> None:
    marks = await measure(laps, all=all)
    for (before, _, _), (after, memory, size) in itertools.pairwise(marks):
        used = (after - before) / (laps // 10) * 1e6
        told = f"{used:9,.0f} us of processor a lap, {memory:9,} KiB, {size:9,} KiB of file"
        sys.stdout.write(f"{told}\n")


if __name__ == "__main__":
    logging.getLogger("rewake").setLevel(logging.ERROR)
    given = [each for each in sys.argv[1:] if each != "all"]
    asyncio.run(_print(int(given[0]) if given else LAPS, all="all" in sys.argv))

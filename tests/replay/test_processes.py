"""The same program takes the same course in every process, whatever its hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RUNS = 20

SCRIPT = """
import asyncio
from asyncio import as_completed, all_tasks, gather, wait  # before rewake, on purpose
import json, random, sys
ballast = [object() for _ in range(random.randrange(5000))]  # so that addresses differ
from rewake import race, sleep, step, task
from tests.support.driver import Run

@task
async def fetch(x): return x

async def main():
    trace = []
    trace += [await each for each in as_completed([fetch(x) for x in range(12)])]
    tasks = {asyncio.create_task(fetch(x), name=str(x)) for x in range(12)}
    trace.append([each.get_name() for each in tasks])
    gathers = {gather(fetch(x), fetch(x)) for x in range(12)}
    trace.append([await each for each in gathers])
    done, left = await wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    trace.append([[each.get_name() for each in some] for some in (done, left)])
    futures = {asyncio.ensure_future(task(lambda x=x: x)) for x in range(12)}
    for each in futures:
        trace.append(await step(f"step-{await each}", lambda: 1))
    future = asyncio.get_running_loop().create_future()
    mixed = {asyncio.create_task(sleep(1)), gather(fetch(1)), future}
    trace.append([type(each).__name__ for each in mixed])
    for each in mixed:
        each.cancel()
    others = [asyncio.create_task(sleep(9), name=str(x)) for x in range(40)]
    await sleep(1)
    trace.append([each.get_name() for each in all_tasks()])
    for each in all_tasks() - {asyncio.current_task()}:
        each.cancel()
    trace.append(await race(*[fetch(x) for x in range(6)]))
    return trace

run = Run(main)
chance = random.Random(5)
run.to_the_end(lambda keys: chance.randrange(len(keys)))
assert run.replayed().error is None
told = ("key", "name", "digest", "due", "clock")
history = [
    [type(entry).__name__, *(getattr(entry, each, None) for each in told)] for entry in run.history
]
print(json.dumps([run.result, history]))
"""


def trace(number: int) -> Any:
    """The result and the history that one process comes to."""
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), str(root / "runtime")])
    environment = {**os.environ, "PYTHONHASHSEED": str(number * 7919 % 4096), "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", SCRIPT],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_sets_iterate_alike_in_every_process() -> None:
    """Sets of tasks, of gathers, of futures, `as_completed`, `all_tasks`: one order in 20 runs."""
    with ThreadPoolExecutor(2) as threads:
        traces = list(threads.map(trace, range(RUNS)))
    result, _ = traces[0]
    assert all(each == traces[0] for each in traces)
    assert result[-2] == ["main", *map(str, range(40))]

"""How long it takes to tell an event to many who wait for it."""

from __future__ import annotations

import asyncio
import time

from rewake.engine.outside.events import Events
from rewake.states import RunState
from tests.bench.hosts import InProcess

AT_ONCE = 200


async def publish(count: int, host: InProcess) -> tuple[float, float]:
    """The milliseconds until it is answered, and until all have ended, for each of them."""
    runs: list[str] = []
    for first in range(0, count, AT_ONCE):
        some = range(first, min(first + AT_ONCE, count))
        runs += [each.run for each in await asyncio.gather(*(host.start("hears") for _ in some))]
    await _suspended(host, runs)
    began = time.perf_counter()
    await Events(host.engine).publish("told", {"of": "all"})
    answered = time.perf_counter() - began
    for run in runs:
        await host.end(run)
    whole = time.perf_counter() - began
    return answered * 1000, whole / count * 1000


async def _suspended(host: InProcess, runs: list[str]) -> None:
    for run in runs:
        while (await host.engine.get(run)).state is not RunState.PARKED:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

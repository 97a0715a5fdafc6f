"""What many schedules cost: while nothing of them is due, and when some are due at one moment."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

from rewake.authoring.scheduling import every
from rewake.engine.schedules.schedules import Schedules
from tests.bench.hosts import Host, InProcess

HOUR = 3_600
WORKFLOW = "sequential_steps"
AT_ONCE = 100
_REST = 3.0
_PAUSE = 0.02


async def schedules(count: int, host: Host) -> tuple[float, ...]:
    """Of so many: ms to make one; CPU (ms a second) while none is due; ms until the run of each of
    a hundred that are due at one moment is begun.
    """
    assert isinstance(host, InProcess)
    made = host.engine.schedules
    began = time.perf_counter()
    await _make(made, "far", count, datetime.now(UTC) + timedelta(days=300))
    making = (time.perf_counter() - began) * 1000 / count
    spent = time.process_time()
    await asyncio.sleep(_REST)
    idle = (time.process_time() - spent) * 1000 / _REST
    soon = datetime.now(UTC) + timedelta(seconds=2)
    await _make(made, "soon", AT_ONCE, soon)
    await asyncio.sleep((soon - datetime.now(UTC)).total_seconds())
    began = time.perf_counter()
    for number in range(AT_ONCE):
        while not (await made.get(f"soon{number}")).started:  # noqa: ASYNC110
            await asyncio.sleep(_PAUSE)
    return making, idle, (time.perf_counter() - began) * 1000 / AT_ONCE


async def _make(made: Schedules, name: str, count: int, start: datetime) -> None:
    for first in range(0, count, AT_ONCE):
        numbers = range(first, min(count, first + AT_ONCE))
        each = [
            every(HOUR, start=start, name=f"{name}{number}", input={"count": 1})
            for number in numbers
        ]
        await asyncio.gather(*(made.create(WORKFLOW, definition) for definition in each))

"""What looking at one run costs: a status, its open approvals, a look of the sweeper.

None may cost more than in proportion to what the run has done, or waits for.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from rewake.states import RunState
from tests.bench.hosts import Host, InProcess, OverHttp

TIMES = 20
"""How often each is done, for its median."""


async def status(count: int, host: Host) -> tuple[float]:
    """Milliseconds for the status of a run that has `count` results and waits for a decision."""
    assert isinstance(host, OverHttp)
    run = await host.suspended("results_then_approval", count=count)
    return (await _median(lambda: host.get(f"/v1/runs/{run}")),)


async def approvals(count: int, host: Host) -> tuple[float]:
    """Milliseconds for the status of a run, by each approval that it waits for."""
    assert isinstance(host, OverHttp)
    run = await host.suspended("approvals", count=count)
    return (await _median(lambda: host.get(f"/v1/runs/{run}")) / count,)


async def sweep(count: int, host: Host) -> tuple[float]:
    """Milliseconds for the sweeper's check of a run, by each of its tasks that wait for a retry."""
    assert isinstance(host, InProcess)
    header = await host.start("long_retries", count=count)
    sweeper, engine = host.engine._sweeper, host.engine
    while header.state is not RunState.PARKED or header.check_at is None:
        await asyncio.sleep(0.1)
        header = await engine.get(header.run)

    async def look() -> None:
        found = await engine.get(header.run)
        await sweeper._check_operations(found, engine.services.clock.now())

    return (await _median(look) / count,)


async def _median(act: Callable[[], Awaitable[object]]) -> float:
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        await act()
        times.append((time.perf_counter() - began) * 1000)
    return statistics.median(times)

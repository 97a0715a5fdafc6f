"""How soon a run that waits goes on: from what wakes it being sent to the run's end."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from rewake.authoring.approval import Approval, Decision
from rewake.engine.outside.approvals import Approvals
from rewake.engine.outside.signals import Signals
from rewake.states import RunState
from tests.bench.hosts import Host, InProcess
from tests.bench.measure import percentile

Wake = Callable[[InProcess, str], Awaitable[object]]


async def signals(runs: int, host: Host) -> tuple[float, ...]:
    """The median and the 99th percentile of runs that wait for a signal, in ms."""

    async def wake(there: InProcess, run: str) -> None:
        await Signals(there.engine).send(run, "go", 1)

    return await _measured("one_signal", runs, host, wake)


async def approvals(runs: int, host: Host) -> tuple[float, ...]:
    """The same of runs that wait for an approval."""

    async def wake(there: InProcess, run: str) -> None:
        await Approvals(there.engine).decide(run, "go", Approval(Decision.APPROVED))

    return await _measured("one_approval", runs, host, wake)


async def _measured(workflow: str, runs: int, host: Host, wake: Wake) -> tuple[float, ...]:
    assert isinstance(host, InProcess)
    times = []
    for _ in range(runs):
        run = (await host.start(workflow)).run
        while (await host.engine.get(run)).state is not RunState.PARKED:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        began = time.perf_counter()
        await wake(host, run)
        await host.end(run)
        times.append((time.perf_counter() - began) * 1000)
    return percentile(times, 50), percentile(times, 99)

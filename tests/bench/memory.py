"""W6: what suspended runs cost. A process of its own suspends them, looks at itself, resumes them.

They wait for approvals that run out tomorrow, so each has an entry in the index of due times.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import msgspec

from rewake.authoring.approval import Approval, Decision
from rewake.engine.outside.approvals import Approvals, open_approvals
from rewake.states import RunState
from rewake.stores.table import Due
from tests.bench import children, durability, hosts, machine, stores
from tests.bench.hosts import InProcess
from tests.bench.measure import Goal, Row
from tests.bench.workloads import Sizes, Values, Workload

_DAY = 86_400
_TOGETHER = 64
_IDLE = 10.0
_CACHED = 1_000
_CACHE = 256
_SETTLED = 300
"""Runs before the first look at memory: enough to fill the cache."""


class Report(msgspec.Struct):
    """What a process with many suspended runs found."""

    start: float
    growth: float
    idle: float
    queries: float
    scans: list[str]
    resume: float


def workloads(sizes: Sizes) -> Iterator[Workload]:
    """Memory of one cached instance, and everything about many that are not."""
    row = partial(Row, "W6")
    cached = row(f"memory of a suspended run in the cache ({_CACHED:,})", "KiB")
    yield Workload(_cached, (cached,))
    n = f"{sizes.suspended:,} suspended runs"
    yield Workload(
        partial(_many, sizes.suspended),
        (
            row(f"{n}: resident memory grows by", "MiB", goal=Goal(64)),
            row(f"{n}: idle CPU, share of a core", "%", goal=Goal(1)),
            row(f"{n}: due queries", "/s", goal=Goal(1.05)),
            *([row(f"{n}: table scans in those", "", goal=Goal(0))] if stores.is_sqlite() else []),
            row(f"{n}: all resumed at", "/s", goal=Goal(1_000, least=True)),
            row(f"{n}: started at", "/s"),
        ),
    )


async def _cached() -> Values:
    report = await asyncio.to_thread(_report, _CACHED, _CACHED)
    return (report.growth * 1024 / _CACHED,)


async def _many(count: int) -> Values:
    found = await asyncio.to_thread(_report, count, _CACHE)
    for statement in found.scans:
        print("a table scan:", statement, file=sys.stderr)  # noqa: T201 - it is for the terminal
    scans = (len(found.scans),) if stores.is_sqlite() else ()
    return (found.growth, found.idle * 100, found.queries, *scans, found.resume, found.start)


def _report(count: int, cached: int) -> Report:
    printed = children.output(children.module("memory", count, cached), seconds=1_800)
    return msgspec.json.decode(printed, type=Report)


# --- the process -------------------------------------------------------------------------------


async def _look(count: int, cached: int) -> Report:
    async with hosts.in_process(cached=cached) as host:
        await _suspend(host, range(-(_SETTLED if cached == _CACHE else 1), 0))
        before = _resident()
        start = await _rate(count, _suspend(host, range(count)))
        growth = _resident() - before
        idle, looks, statements = await _rest(host)
        key = await _approval(host, _name(0))
        resume = await _rate(count, _together(partial(_resume, host, key), range(count)))
        queries = [each for each in statements if each.startswith("SELECT")]
        return Report(start, growth, idle, looks / _IDLE, _scans(queries), resume)


def _name(number: int) -> str:
    """Runs are named, so that this process need not remember which they are."""
    return f"run-{number}"


async def _suspend(host: InProcess, numbers: Iterable[int]) -> None:
    """Start these runs, and wait until they are all suspended."""

    async def one(number: int) -> None:
        header = await host.start("waiter", run=_name(number), seconds=_DAY)
        while header.state is not RunState.PARKED:
            await asyncio.sleep(0.002)
            header = await host.engine.get(header.run)

    await _together(one, numbers)


async def _approval(host: InProcess, run: str) -> str:
    """The key of the approval that a run waits for; it is the same in all of them."""
    _, history = await host.engine.history(run)
    return next(iter(open_approvals(history)))


async def _resume(host: InProcess, key: str, number: int) -> None:
    await Approvals(host.engine).decide(_name(number), key, Approval(Decision.APPROVED))
    await host.end(_name(number))


async def _rest(host: InProcess) -> tuple[float, int, list[str]]:
    """While nothing happens: the share of a core that is used, how often the due index is asked,
    and the SQL that runs on SQLite.
    """
    statements: list[str] = []
    looks, store = 0, host.engine.services.store
    due = store.due

    async def counted(*args: Any, **named: Any) -> list[Due]:
        nonlocal looks
        looks += 1
        return await due(*args, **named)

    vars(store)["due"] = counted
    for connection in durability.connections():
        connection.set_trace_callback(statements.append)
    used = time.process_time()
    await asyncio.sleep(_IDLE)
    used = time.process_time() - used
    for connection in durability.connections():
        connection.set_trace_callback(None)
    del vars(store)["due"]
    return used / _IDLE, looks, statements


def _scans(queries: Sequence[str]) -> list[str]:
    """Those that read a whole table or index."""
    if not queries:
        return []
    ask = durability.connections()[0].execute
    plans = {query: ask(f"EXPLAIN QUERY PLAN {query}").fetchall() for query in set(queries)}
    return [query for query, plan in plans.items() if any("SCAN" in step[3] for step in plan)]


async def _together(work: Callable[[int], Awaitable[None]], numbers: Iterable[int]) -> None:
    """Do the work for every number, a few at a time."""
    left = iter(numbers)

    async def some() -> None:
        for number in left:
            await work(number)

    await asyncio.gather(*(some() for _ in range(_TOGETHER)))


async def _rate(count: int, work: Awaitable[None]) -> float:
    began = time.perf_counter()
    await work
    return count / (time.perf_counter() - began)


def _resident() -> float:
    gc.collect()
    return machine.resident()


if __name__ == "__main__":
    durability.watch()
    found = asyncio.run(_look(int(sys.argv[1]), int(sys.argv[2])))
    sys.stdout.write(msgspec.json.encode(found).decode())

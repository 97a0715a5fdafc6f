"""What is measured, and how well it should go: W1 to W5, W7, events, a cold replay, and the
import.

Each measurement opens an engine on a new file, warms it up, and takes one sample.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from rewake.states import RunState
from tests.bench import (
    floor,
    hearing,
    hosts,
    laps,
    limits,
    looks,
    programs,
    scheduled,
    stores,
    waking,
)
from tests.bench.hosts import Host, InProcess
from tests.bench.measure import Goal, Row, Scale, percentile

Values = tuple[float, ...]
Measure = Callable[[Host], Awaitable[Values]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    sequence: int = 1_000
    long: int = 10_000
    wide: int = 2_000
    cold: int = 200
    runs: int = 200
    latencies: int = 200
    sleeps: int = 1_000
    sleep: float = 1.0
    suspended: int = 100_000
    hears: int = 10_000
    scheduled: int = 10_000
    laps: int = 10_000
    waiters: int = 10_000
    load: float = 10.0
    repetitions: int = 3


QUICK = Sizes(
    sequence=200,
    long=2_000,
    wide=200,
    cold=50,
    runs=50,
    latencies=50,
    sleeps=100,
    sleep=0.3,
    suspended=2_000,
    hears=400,
    scheduled=500,
    laps=500,
    waiters=500,
    load=3.0,
    repetitions=1,
)


@dataclass(frozen=True, slots=True)
class Workload:
    """One measurement, which gives one value for each of its rows."""

    measure: Callable[[], Awaitable[Values]]
    rows: tuple[Row, ...]


def workloads(sizes: Sizes) -> Iterator[Workload]:
    """All of them, in the order in which they are reported."""
    yield from _sequential(sizes)
    yield from _fan_out(sizes)
    yield from _wide(sizes)
    yield from _many_runs(sizes)
    yield from _latency(sizes)
    yield from _waking(sizes)
    yield from _sleeps(sizes)
    yield from _looks(sizes)
    yield from _events(sizes)
    yield from _schedules(sizes)
    yield from _laps(sizes)
    yield from _limits(sizes)
    yield from _starting(sizes)


def _sequential(sizes: Sizes) -> Iterator[Workload]:
    n, few = sizes.sequence, sizes.cold
    steps = partial(_each, "sequential_steps")
    tasks = partial(_each, "sequential_tasks")
    row = partial(Row, "W1", unit="ms")
    step_goal, task_goal = Goal(2, Scale.COMMITS), Goal(4, Scale.COMMITS)
    http_goal = Goal(2.5, Scale.DISK)
    yield _warm(partial(steps, n), row(f"inline step ({n:,})", goal=step_goal, kind="inline"))
    flat = Row("W1", f"inline step {sizes.long:,} against step 100", "x", goal=Goal(1.2))
    yield _warm(partial(_growth, sizes.long), flat)
    yield _warm(partial(tasks, n), row(f"task ({n:,})", goal=task_goal, kind="task"))
    yield _warm(partial(_cpu, "sequential_tasks", n), row(f"task, this process's CPU ({n:,})"))
    yield _http(partial(tasks, n), row(f"task over HTTP ({n:,})", goal=http_goal, kind="http"))
    yield _cold(partial(steps, few), row(f"inline step, no cache ({few:,})"))
    yield _cold(partial(tasks, few), row(f"task, no cache ({few:,})"))


def _fan_out(sizes: Sizes) -> Iterator[Workload]:
    n = sizes.sequence
    row = partial(Row, "W2", unit="s")
    goal = Goal(0.5 * n / 1_000, Scale.DISK)
    tasks, steps = partial(_wall, "parallel_tasks", n), partial(_wall, "parallel_steps", n)
    yield _warm(tasks, row(f"{n:,} tasks", goal=goal, kind="task"))
    cpu = Row("W2", f"task of {n:,} at once, this process's CPU", unit="ms")
    yield _warm(partial(_cpu, "parallel_tasks", n), cpu)
    yield _warm(steps, row(f"{n:,} inline steps", kind="inline"))
    yield _http(tasks, row(f"{n:,} tasks over HTTP", kind="http"))
    yield _cold(tasks, row(f"{n:,} tasks, no cache"))


def _wide(sizes: Sizes) -> Iterator[Workload]:
    """Three widths of each: what one branch costs must not grow with them."""
    shapes = {
        "branches": "branch of two tasks",
        "as_completed": "task of as_completed",
        "retries": "task retried after 1 s, beyond it",
        "children": "child run that calls a task",
    }
    for workflow, name in shapes.items():
        waits = 1.0 if workflow == "retries" else 0.0
        for n in (sizes.wide // 4, sizes.wide // 2, sizes.wide):
            measure = partial(_each, workflow, n, waits=waits)
            yield _warm(measure, Row("W2", f"{name} ({n:,})", unit="ms"))


def _many_runs(sizes: Sizes) -> Iterator[Workload]:
    n = sizes.runs
    row = partial(Row, "W3", unit="/s")
    tasks = partial(_throughput, "sequential_tasks", n)
    steps = partial(_throughput, "sequential_steps", n)
    goal = Goal(2_000, Scale.DISK, least=True)
    yield _warm(tasks, row(f"tasks of {n:,} runs x 5", goal=goal, kind="task"))
    yield _warm(steps, row(f"inline steps of {n:,} runs x 5", kind="inline"))
    yield _http(tasks, row(f"tasks of {n:,} runs x 5, over HTTP", kind="http"))
    yield _cold(tasks, row(f"tasks of {n:,} runs x 5, no cache"))


def _latency(sizes: Sizes) -> Iterator[Workload]:
    goal = Goal(3, Scale.DISK)
    for name, kind, workflow in (
        ("1 inline step", "inline", "sequential_steps"),
        ("1 task", "task", "sequential_tasks"),
    ):
        measure = partial(_latencies, workflow, sizes.latencies)
        wanted = goal if kind == "inline" else None
        yield _warm(
            measure,
            Row("W4", f"start to result, {name}, p50", "ms", goal=wanted, kind=kind),
            Row("W4", f"start to result, {name}, p99", "ms"),
        )
    yield _http(
        partial(_latencies, "sequential_steps", sizes.latencies),
        Row("W4", "over HTTP, 1 inline step, p50", "ms", kind="http"),
        Row("W4", "over HTTP, 1 inline step, p99", "ms"),
    )


def _waking(sizes: Sizes) -> Iterator[Workload]:
    """What wakes a run that waits, to its end: two or three commits."""
    for measure, name in ((waking.signals, "signal"), (waking.approvals, "approval")):
        row = partial(Row, "W4", unit="ms")
        rows = row(f"{name} to end, p50"), row(f"{name} to end, p99")
        yield _warm(partial(measure, sizes.latencies), *rows)


def _sleeps(sizes: Sizes) -> Iterator[Workload]:
    yield _warm(
        partial(_overshoot, sizes.sleeps, sizes.sleep),
        Row("W5", f"run of one {sizes.sleep:g} s sleep, beyond it, p50", "ms", kind="sleep"),
        Row("W5", f"the same, p99 of {sizes.sleeps:,}", "ms", goal=Goal(10)),
    )


def _looks(sizes: Sizes) -> Iterator[Workload]:
    """Three sizes of each: what a look costs grows no faster than the run."""
    for n in (sizes.wide // 4, sizes.wide // 2, sizes.wide):
        row = partial(Row, "W7", unit="ms")
        yield _http(partial(looks.status, n), row(f"status of a run with {n:,} results"))
        yield _http(partial(looks.approvals, n), row(f"status, for each of {n:,} approvals"))
        yield _warm(partial(looks.sweep, n), row(f"sweeper's check, for each of {n:,} tasks"))


def _events(sizes: Sizes) -> Iterator[Workload]:
    """Three numbers of those who wait: what each of them costs must not grow with them."""
    for n in (sizes.hears // 4, sizes.hears // 2, sizes.hears):
        row = partial(Row, "events", unit="ms")
        yield _warm(
            partial(hearing.publish, n),
            row(f"publish to {n:,} that wait, until it is answered"),
            row("until all of them have ended, for each"),
        )


def _schedules(sizes: Sizes) -> Iterator[Workload]:
    """Two numbers of them: what one costs must not grow with them."""
    for n in (sizes.scheduled // 10, sizes.scheduled):
        row = partial(Row, "schedules", unit="ms")
        yield _warm(
            partial(scheduled.schedules, n),
            row(f"make one of {n:,}"),
            row(f"CPU a second while none of {n:,} is due"),
            row("run of one of 100 that are due at once"),
        )


def _laps(sizes: Sizes) -> Iterator[Workload]:
    """What a lap costs, and what is kept, must not grow with the number of laps."""
    n, row = sizes.laps, partial(Row, "laps", unit="ms")
    yield Workload(
        partial(laps.grown, n),
        (
            row(f"processor for a lap of one step, the first tenth of {n:,}"),
            row("the last tenth"),
            Row("laps", "memory that has come meanwhile", "MiB"),
        ),
    )


def _limits(sizes: Sizes) -> Iterator[Workload]:
    """Two lengths of one line: what one in it costs must not grow with them."""
    for n in (sizes.waiters // 10, sizes.waiters):
        row = partial(Row, "limits")
        yield Workload(
            partial(limits.waiters, n),
            (
                row(f"one of {n:,} that wait for one key, in writes of 1 KiB", "units"),
                row("in reads", "units"),
                row("in CPU", "us"),
            ),
        )


def _starting(sizes: Sizes) -> Iterator[Workload]:
    n = sizes.sequence
    replay = Row("replay", f"cold replay of {n:,} steps, beyond that of none", "ms", goal=Goal(25))
    yield Workload(partial(_cold_replay, n), (replay,))
    yield Workload(_import, (Row("import", "import rewake", "ms", goal=Goal(120)),))


# --- where -------------------------------------------------------------------------------------


def _on(
    host: Callable[[], AbstractAsyncContextManager[Host]], measure: Measure, *rows: Row
) -> Workload:
    async def sample() -> Values:
        async with host() as ready:
            await ready.run("sequential_steps", count=20)
            await ready.run("sequential_tasks", count=20)
            return await measure(ready)

    return Workload(sample, rows)


_warm = partial(_on, hosts.in_process)
_cold = partial(_on, partial(hosts.in_process, cached=0))
_http = partial(_on, hosts.over_http)


# --- what --------------------------------------------------------------------------------------


async def _seconds(host: Host, workflow: str, **arguments: float) -> float:
    began = time.perf_counter()
    await host.run(workflow, **arguments)
    return time.perf_counter() - began


async def _wall(workflow: str, count: int, host: Host) -> Values:
    return (await _seconds(host, workflow, count=count),)


async def _each(workflow: str, count: int, host: Host, *, waits: float = 0.0) -> Values:
    """What each of them costs, beyond what the whole waits (s)."""
    return ((await _seconds(host, workflow, count=count) - waits) / count * 1000,)


async def _cpu(workflow: str, count: int, host: Host) -> Values:
    """What each of them costs of this process's time on a processor, all its threads together."""
    began = time.process_time()
    await host.run(workflow, count=count)
    return ((time.process_time() - began) / count * 1000,)


async def _growth(count: int, host: Host) -> Values:
    """The last 200 steps against the 200 around the hundredth."""
    programs.ticks.clear()
    await host.run("sequential_steps", count=count)
    gaps = [b - a for a, b in zip(programs.ticks, programs.ticks[1:], strict=False)]
    return (statistics.median(gaps[-200:]) / statistics.median(gaps[:200]),)


async def _throughput(workflow: str, runs: int, host: Host) -> Values:
    began = time.perf_counter()
    await asyncio.gather(*(host.run(workflow, count=5) for _ in range(runs)))
    return (runs * 5 / (time.perf_counter() - began),)


async def _latencies(workflow: str, runs: int, host: Host) -> Values:
    times = [await _seconds(host, workflow, count=1) * 1000 for _ in range(runs)]
    return percentile(times, 50), percentile(times, 99)


async def _overshoot(runs: int, seconds: float, host: Host) -> Values:
    """From start to result, less the sleep: a hundred new sleeps a second."""

    async def one(number: int) -> float:
        await asyncio.sleep(number / 100)
        return (await _seconds(host, "sleeper", seconds=seconds) - seconds) * 1000

    times = await asyncio.gather(*(one(number) for number in range(runs)))
    return percentile(times, 50), percentile(times, 99)


async def _cold_replay(count: int) -> Values:
    """Another process finds a run whose sleep is over: until it has ended."""
    return ((await _reopened(count) - await _reopened(0)) * 1000,)


async def _reopened(count: int) -> float:
    with stores.new() as address:
        async with hosts.in_process(address=address) as first:
            header = await first.start("steps_then_sleep", count=count, seconds=1)
            run = header.run
            await _suspended(first, run)
        await asyncio.sleep(1.2)
        began = time.perf_counter()
        async with hosts.in_process(address=address) as second:
            await second.end(run)
            return time.perf_counter() - began


async def _suspended(host: InProcess, run: str) -> None:
    while (await host.engine.get(run)).state is not RunState.PARKED:  # noqa: ASYNC110
        await asyncio.sleep(0.01)


async def _import() -> Values:
    return (await asyncio.to_thread(floor.import_time),)

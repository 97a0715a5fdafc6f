"""Cost: what a step costs does not depend on how many there were, nor on how many runs there are.

The limits are far above what is measured (see the numbers in each test), for machines are shared.
"""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any

from rewake import parallel, sleep, step, task
from rewake.kinds import OutcomeKind
from rewake.records import Outcome, Stepped
from tests.support.driver import CODEC, Run, TestProgram

DONE = Outcome(OutcomeKind.OK, CODEC.encode(1, key="", purpose="result"))


@task
async def fetch(x: Any) -> Any:
    return x


async def steps(count: int) -> Any:
    for number in range(count):
        await step("step", lambda number=number: number)  # type: ignore[misc]


def timed(work: Callable[[], object]) -> float:
    """Seconds of this process's own time."""
    gc.collect()
    began = time.process_time()
    work()
    return time.process_time() - began


def go_on(run: Run, count: int) -> None:
    """Let the only open step end, so many times; the fast way."""
    execution, history = run.execution, run.history
    for _ in range(count):
        (key,) = execution.open
        execution.observe(Stepped(key, run.clock, DONE))
        history.extend(execution.fresh)
        execution.fresh.clear()


def test_long_runs_cost_the_same_per_step() -> None:
    """The last of 10,000 steps costs what the first did: measured, 15 µs warm and 14 µs cold."""
    run = Run(steps, 10_001)
    first = min(timed(lambda: go_on(run, 500)) for _ in range(4))
    go_on(run, 6_000)
    last = min(timed(lambda: go_on(run, 500)) for _ in range(4))
    assert last < 3 * first
    assert last / 500 < 500e-6
    cold = run.instance()
    took = timed(lambda: cold.replay(run.history, {}))
    assert cold.error is None
    assert took / 10_000 < 500e-6
    cold.drop()
    run.close()


def test_long_runs_hold_nothing_back() -> None:
    """Of steps, branches and generators that ended, nothing is kept."""

    async def numbers() -> Any:
        yield 1

    async def main(count: int) -> None:
        for number in range(count):
            await step("step", lambda: None)
            await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0))
            await parallel([number], lambda _: asyncio.sleep(0), concurrency=1)
            async for _ in numbers():
                pass

    run = Run(main, 2_001)
    go_on(run, 500)
    gc.collect()
    tracemalloc.start()
    go_on(run, 500)
    run.history.clear()
    gc.collect()
    before, _ = tracemalloc.get_traced_memory()
    go_on(run, 1_000)
    run.history.clear()
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 300_000  # one asyncio task a step would be millions
    assert len(run.execution.loop._tasks) < 200
    assert len(run.execution.loop._generators) < 200
    run.close()


def test_settled_operations_are_freed_at_once() -> None:
    """An operation that ended is no garbage for the cyclic collector."""
    run = Run(steps, 1_001)
    go_on(run, 100)
    gc.collect()
    gc.disable()
    try:
        go_on(run, 500)
        assert gc.collect() < 50
    finally:
        gc.enable()
    run.close()


def test_suspended_runs_are_not_in_each_others_way() -> None:
    """Beginning a run costs the same beside 3,000 suspended ones, although all hash alike."""

    async def main() -> Any:
        await asyncio.gather(*(sleep(9) for _ in range(3)))

    def begin(count: int) -> list[Run]:
        return [Run(main) for _ in range(count)]

    kept: list[Run] = []
    alone = min(timed(lambda: kept.extend(begin(100))) for _ in range(3))
    kept.extend(begin(3_000))
    beside = min(timed(lambda: kept.extend(begin(100))) for _ in range(3))
    for run in kept:
        run.close()
    assert beside < 4 * alone


def test_a_suspended_instance_is_small() -> None:
    """A sleeping instance takes a few KiB: measured, 9."""

    async def main() -> Any:
        await sleep(9)

    program = TestProgram(main)
    warm = [Run(program) for _ in range(10)]
    gc.collect()
    tracemalloc.start()
    kept = [Run(program) for _ in range(200)]
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    for run in [*warm, *kept]:
        run.close()
    assert size / 200 < 24 * 1024


def test_a_wide_fan_out_is_linear() -> None:
    """1,000 branches at once: asked for, observed one by one, replayed, in linear time."""

    async def main(count: int) -> Any:
        return len(await asyncio.gather(*(fetch(number) for number in range(count))))

    def whole(count: int) -> float:
        run = Run(TestProgram(main, [fetch]), count)

        def work() -> None:
            assert run.execution.arrivals_needed() == (count, 0)
            for key in run.open:
                run.settle(key, 1)
            assert run.result == count
            replayed = run.replayed()
            assert replayed.error is None
            replayed.drop()

        run.world.answers = dict.fromkeys(run.open, 1)
        took = timed(work)
        run.close()
        return took

    whole(10)
    assert whole(1_000) < 40 * whole(100)

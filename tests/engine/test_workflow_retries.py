"""`@workflow(retries=)`: a body that fails begins anew, under the same id, in a lap of its own."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import (
    NonRetryable,
    parallel,
    sleep,
    step,
    task,
    task_context,
    wait_for_signal,
    workflow,
)
from rewake.engine.outside.signals import Signals
from rewake.states import RunState
from rewake.views.timeline import timeline
from tests.support.virtual import Bench, Ended, virtually

warm_and_cold = pytest.mark.parametrize("cached", [256, 0], ids=["warm", "cold"])
keys: list[str] = []
bodies: list[float] = []


@task
async def charge(amount: int) -> int:
    keys.append(task_context().idempotency_key)
    return amount


@workflow(retries=3, delay=100, multiplier=1, max_delay=100, jitter=0)
async def unlucky(failures: int) -> list[Any]:
    bodies.append(asyncio.get_running_loop().time())
    paid = await charge(30)
    number = await step("count", lambda: len(bodies_begun()))
    if number <= failures:
        raise ValueError(f"failure {number}")
    return [paid, number]


def bodies_begun() -> list[str]:
    return list(dict.fromkeys(keys))


@workflow(retries=2, delay=1)
async def hopeless(kind: str) -> None:
    await sleep(1)
    raise {"never": NonRetryable, "always": ValueError}[kind]("no")


@workflow(retries=1, delay=1, timeout=60)
async def slow() -> None:
    await sleep(1_000)


@workflow(retries=5, delay=1_000, max_delay=1_000, jitter=0)
async def waits() -> None:
    await charge(1)
    raise ValueError("wait for me")


@workflow(retries=1, delay=1)
async def hears() -> str:
    said: str = await wait_for_signal("said", type=str)
    if len(await parallel(range(3), charge)) and len(bodies_begun()) <= 3:
        raise ValueError(said)
    return said


FUNCTIONS = [charge, unlucky, hopeless, slow, waits, hears]


@pytest.fixture(autouse=True)
def _emptied() -> None:
    keys.clear()
    bodies.clear()


@warm_and_cold
def test_a_body_that_failed_begins_anew(cached: int) -> None:
    """After its delay, with new idempotency keys; who waits gets what came of the last attempt."""

    async def body(bench: Bench) -> None:
        header = await bench.start("unlucky", failures=2)
        assert await bench.result(header.run) == [30, 3]
        assert bench.seconds >= 200
        found = await bench.engine.get(header.run)
        assert (found.state, found.lap.number) == (RunState.DONE, 3)
        entries, _ = timeline(await bench.engine.services.store.history(found))
        assert entries[0]["error"].message == "failure 2"

    virtually(FUNCTIONS, body, cached=cached)
    assert len(keys) == len(set(keys)) == 3


@warm_and_cold
def test_it_fails_when_no_retry_is_left(cached: int) -> None:
    """With the last error, and how often it was tried; it is never shown as failed before."""

    async def body(bench: Bench) -> None:
        header = await bench.start("unlucky", failures=9)
        states = set()
        while await bench.engine.result(header.run, 7) is None:
            states.add((await bench.engine.get(header.run)).state)
        assert RunState.FAILED not in states
        outcome = await bench.engine.result(header.run, 1)
        assert outcome is not None
        assert outcome.failure is not None
        assert (outcome.failure.message, outcome.failure.attempts) == ("failure 4", 4)
        found = await bench.engine.get(header.run)
        with pytest.raises(Ended):
            await bench.result(found.run)

    virtually(FUNCTIONS, body, cached=cached)


@pytest.mark.parametrize(("kind", "laps"), [("never", 1), ("always", 3)])
def test_what_is_not_retried(kind: str, laps: int) -> None:
    """`NonRetryable` ends the run at once."""

    async def body(bench: Bench) -> None:
        header = await bench.start("hopeless", kind=kind)
        with pytest.raises(Ended):
            await bench.result(header.run)
        assert (await bench.engine.get(header.run)).lap.number == laps

    virtually(FUNCTIONS, body)


@warm_and_cold
def test_a_time_out_is_of_each_attempt(cached: int) -> None:
    """And is retried, as that of a task is."""

    async def body(bench: Bench) -> None:
        header = await bench.start("slow")
        with pytest.raises(Ended):
            await bench.result(header.run)
        found = await bench.engine.get(header.run)
        assert (found.state, found.lap.number) == (RunState.FAILED, 2)
        assert 120 <= bench.seconds < 130

    virtually(FUNCTIONS, body, cached=cached)


@warm_and_cold
def test_a_run_that_waits_for_its_next_attempt_can_be_cancelled(cached: int) -> None:
    """At once: its body does not begin any more."""

    async def body(bench: Bench) -> None:
        header = await bench.start("waits")
        await bench.engine.services.clock.sleep(100_000)
        await bench.engine.cancel(header.run, "enough")
        with pytest.raises(Ended):
            await bench.result(header.run)
        assert (await bench.engine.get(header.run)).state is RunState.CANCELLED
        assert bench.seconds < 150

    virtually(FUNCTIONS, body, cached=cached)
    assert len(keys) == 1


@warm_and_cold
def test_a_signal_that_a_failed_attempt_has_heard_is_heard_again(cached: int) -> None:
    """It is part of what the run was given, as its input is."""

    async def body(bench: Bench) -> None:
        header = await bench.start("hears")
        await bench.engine.services.clock.sleep(10_000)
        await Signals(bench.engine).send(header.run, "said", "hello")
        assert await bench.result(header.run) == "hello"

    virtually(FUNCTIONS, body, cached=cached)


def test_in_plain_python_the_function_is_called_again() -> None:
    """With its retries, as a task is; and it raises its own error in the end."""
    calls: list[int] = []

    @workflow(retries=2, delay=0)
    async def flaky(left: int) -> str:
        calls.append(1)
        if len(calls) <= left:
            raise ValueError("not yet")
        return "done"

    assert asyncio.run(awaited(flaky(2))) == "done"
    calls.clear()
    with pytest.raises(ValueError, match="not yet"):
        asyncio.run(awaited(flaky(9)))
    assert len(calls) == 3


async def awaited(coro: Any) -> Any:
    return await coro


@pytest.mark.parametrize("options", [{"retries": -1}, {"retries": 1.5}, {"delay": -1}])
def test_bad_options(options: dict[str, Any]) -> None:
    """They are refused where the workflow is made."""

    async def main() -> None: ...

    with pytest.raises(ValueError, match=next(iter(options))):
        workflow(**options)(main)

"""Outside a run, everything is plain Python: the same code, with nothing of Rewake behind it."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rewake import (
    NonRetryable,
    NotInARun,
    RetryAfter,
    TaskError,
    now,
    parallel,
    race,
    random,
    sleep,
    sleep_until,
    step,
    task,
    task_context,
    uuid4,
    wait_for_approval,
    workflow,
)


def run(function: Callable[[], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        return await function()

    return asyncio.run(main())


class Flaky:
    """Fails so many times, then succeeds."""

    def __init__(self, failures: int, error: type[Exception] = ValueError) -> None:
        self.left = failures
        self.calls = 0
        self.error = error

    def __call__(self) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error(f"{self.left} left")
        return self.calls


def test_a_workflow_is_a_function() -> None:
    """`await main()` runs tasks, steps, branches and sleeps in place."""

    @task
    async def double(x: int) -> int:
        return 2 * x

    @task
    def triple(x: int) -> int:
        assert threading.current_thread() is not threading.main_thread()
        return 3 * x

    @workflow
    async def main(n: int) -> Any:
        await sleep(0.001)
        await sleep(timedelta(microseconds=500))
        doubled = await parallel(range(n), double, concurrency=2)
        first = await race(triple(5), sleep_for_ever())
        return [doubled, first, await step("add", lambda: sum(doubled)), await main_two(1)]

    async def sleep_for_ever() -> int:
        await asyncio.sleep(3600)
        return 0

    @workflow
    async def main_two(x: int) -> int:
        return await double(await triple(x))

    assert run(lambda: main(4)) == [[0, 2, 4, 6], 15, 12, 6]


def test_tasks_are_retried_in_place() -> None:
    """A task outside a run makes its retries, and then returns or raises `TaskError`."""
    good, bad = Flaky(2), Flaky(9)
    assert run(task(retries=2, delay=0)(good)) == 3
    with pytest.raises(TaskError, match="ValueError: 6 left") as caught:
        run(task(retries=2, delay=0)(bad))
    assert caught.value.type == "ValueError"
    assert caught.value.message == "6 left"
    assert caught.value.attempts == 3
    assert isinstance(caught.value.__cause__, ValueError)
    assert "Flaky" in caught.value.traceback or "__call__" in caught.value.traceback


def test_errors_that_are_not_retried() -> None:
    """`NonRetryable`, and what `retry_on` does not name, end a task at once."""
    for made, flaky in (
        (task(retries=5, delay=0), Flaky(9, NonRetryable)),
        (task(retries=5, delay=0, retry_on=OSError), Flaky(9)),
        (task(retries=5, delay=0, retry_on=lambda error: "x" in str(error)), Flaky(9)),
    ):
        with pytest.raises(TaskError):
            run(made(flaky))
        assert flaky.calls == 1


def test_steps_are_retried_in_place() -> None:
    """A step outside a run makes its retries; `at_most_once` is of each of them."""
    assert run(lambda: step("s", Flaky(1), retries=1, delay=0)) == 2
    with pytest.raises(TaskError):
        run(lambda: step("s", Flaky(1)))
    assert run(lambda: step("s", Flaky(1), at_most_once=True, retries=1, delay=0)) == 2


def test_timeouts_in_place() -> None:
    """`timeout` bounds an attempt, `total_timeout` all of them with their waits."""

    @task(timeout=0.01, retries=1, delay=0)
    async def slow() -> None:
        await asyncio.sleep(30)

    with pytest.raises(TaskError) as caught:
        run(slow)
    assert caught.value.type == "TimeoutError"
    assert caught.value.attempts == 2

    flaky = Flaky(9)
    with pytest.raises(TaskError):
        run(task(retries=9, delay=5, total_timeout=1, jitter=0)(flaky))
    assert flaky.calls == 1

    @task(total_timeout=0.01)
    async def endless() -> None:
        await asyncio.sleep(30)

    with pytest.raises(TaskError, match="TimeoutError"):
        run(endless)


def test_retry_after_in_place() -> None:
    """`RetryAfter` sets the next wait."""
    calls: list[float] = []

    @task(retries=1, delay=3600)
    async def busy() -> int:
        calls.append(asyncio.get_running_loop().time())
        if len(calls) == 1:
            raise RetryAfter(0.01)
        return len(calls)

    assert run(busy) == 2
    assert calls[1] - calls[0] < 5


def test_arguments_that_do_not_fit() -> None:
    """A call with wrong arguments raises `TypeError` at once, as that of any function does."""

    @task
    async def work(x: int, *, y: int = 0) -> int:
        return x + y

    for args, kwargs in (((), {}), ((1, 2), {}), ((1,), {"z": 1}), ((1,), {"x": 1})):
        with pytest.raises(TypeError):
            _ = work(*args, **kwargs)
    assert run(lambda: work(1, y=2)) == 3


def test_time_and_chance_are_real() -> None:
    """`now`, `random` and `uuid4` are the machine's; `sleep_until` waits for real moments."""
    before = datetime.now(UTC)
    assert before <= now() <= datetime.now(UTC)
    assert 0 <= random().random() < 1
    assert uuid4() != uuid4()
    run(lambda: sleep_until(now() + timedelta(milliseconds=5)))
    run(lambda: sleep_until(now() - timedelta(days=5)))
    run(lambda: sleep(-5))
    with pytest.raises(ValueError, match="time zone"):
        run(lambda: sleep_until(datetime(2030, 1, 1)))  # noqa: DTZ001
    for wrong in (float("inf"), float("nan")):
        with pytest.raises(ValueError, match="finite"):
            run(functools.partial(sleep, wrong))


def test_what_needs_a_run_says_so() -> None:
    """Approvals, and a task's context outside a task, raise `NotInARun`."""
    with pytest.raises(NotInARun, match="in a test, supply the answer"):
        run(wait_for_approval)
    with pytest.raises(NotInARun):
        task_context()


def test_tasks_have_a_context() -> None:
    """The body of a task knows its attempt and a stable idempotency key, also in a thread."""
    seen: list[tuple[int, str]] = []

    @task(retries=1, delay=0)
    def work() -> None:
        context = task_context()
        seen.append((context.attempt, context.idempotency_key))
        assert len(context.idempotency_key) == 32
        if len(seen) == 1:
            raise ValueError

    async def main() -> None:
        await work()
        with pytest.raises(NotInARun):
            task_context()

    run(main)
    assert [attempt for attempt, _ in seen] == [1, 2]
    assert len({key for _, key in seen}) == 1


def test_tasks_call_tasks() -> None:
    """A task or step may call other tasks: they run in place, in it."""

    @task
    async def inner(x: int) -> int:
        return x + 1

    @task
    async def outer(x: int) -> int:
        return await inner(await step("s", lambda: x)) + await task(lambda: 10)

    assert run(lambda: outer(1)) == 12
    assert run(lambda: step("s", lambda: inner(5))) == 6


def test_parallel_and_race_in_place() -> None:
    """Branches fail, are cancelled and cleaned up as in a run."""
    ended: list[int] = []

    async def one(x: int) -> int:
        try:
            await asyncio.sleep(0 if x == 1 else 30)
            raise LookupError(x)
        finally:
            await asyncio.sleep(0)
            ended.append(x)

    with pytest.raises(LookupError):
        run(lambda: parallel(range(3), one))
    assert sorted(ended) == [0, 1, 2]
    with pytest.raises(LookupError):
        run(lambda: race(one(0), one(1)))
    with pytest.raises(ValueError, match="at least one"):
        run(race)


@workflow
async def by_position(first: int, second: int = 2, /, *, third: int = 3) -> list[int]:
    return [first, second, third]


def test_recorded_arguments_are_given_by_position_where_they_must_be() -> None:
    """One that a run was not started with, for a deploy has added it, is missing as in Python."""
    assert run(lambda: by_position.call({"first": 1, "third": 4})) == [1, 2, 4]
    with pytest.raises(TypeError, match="missing"):
        run(lambda: by_position.call({"third": 4}))

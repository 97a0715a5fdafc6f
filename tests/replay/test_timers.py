"""Time: durable timers, time-outs, cancelling what waits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from rewake import now, sleep, sleep_until, step
from tests.support.driver import Run
from tests.support.tasks import fetch, results, two


def test_wait_for() -> None:
    """`wait_for` bounds a branch; both ends are possible."""

    async def main() -> Any:
        try:
            return await asyncio.wait_for(two("a"), timeout=10)
        except TimeoutError:
            return "late"

    assert results(main) == [["a", "a"], "late"]


def test_timeout() -> None:
    """`asyncio.timeout` is a durable timer: withdrawn in time, or expiring."""

    async def main() -> Any:
        limit = asyncio.timeout(10)
        try:
            async with limit:
                await two("a")
        except TimeoutError:
            return ["late", limit.expired()]
        return ["in time", limit.expired()]

    assert results(main) == [["in time", False], ["late", True]]


def test_timeout_rescheduled() -> None:
    """A rescheduled `timeout` withdraws its timer and asks for another one."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10) as limit:
            await fetch("a")
            limit.reschedule(loop.time() + 100)
            await fetch("b")
            limit.reschedule(None)
            await fetch("c")
        return "done"

    run = Run(main, cold=True)
    assert run.execution.open["timer"].due == run.clock + 10_000
    run.settle("fetch")
    assert run.withdrawn == ["timer"]
    assert run.execution.open["timer.2"].due == run.clock + 100_000
    run.settle("fetch.2")
    assert run.open == ["fetch.3"]
    assert run.to_the_end().result == "done"
    run.close()
    assert "done" in results(main)


def test_timeouts_nest() -> None:
    """Of nested timeouts the one that is due first wins, and only its block ends."""

    async def main(inner: float, outer: float) -> Any:
        try:
            async with asyncio.timeout(outer):
                try:
                    async with asyncio.timeout(inner):
                        return await fetch("a")
                except TimeoutError:
                    return ["inner", await fetch("b")]
        except TimeoutError:
            return "outer"

    assert sorted(map(str, results(main, 5, 10))) == ["['inner', 'b']", "a", "outer"]
    assert sorted(map(str, results(main, 10, 5))) == ["a", "outer"]


def test_timeout_that_is_over_at_once() -> None:
    """A timeout in the past ends its block at the first wait, without a timer."""

    async def main() -> Any:
        try:
            async with asyncio.timeout(-1):
                await fetch("a")
        except TimeoutError:
            return "late"

    run = Run(main)
    assert run.result == "late"
    assert run.asked == []
    run.close()


def test_sleeps_race() -> None:
    """Timers fire in the order of their due times, not of their creation."""

    async def main() -> Any:
        order = []

        async def wait(seconds: float) -> None:
            await asyncio.sleep(seconds)
            order.append(seconds)

        await asyncio.gather(wait(0.3), wait(0.1), wait(0.2))
        return order

    assert results(main) == [[0.1, 0.2, 0.3]]


def test_asyncio_sleep_is_exact() -> None:
    """`asyncio.sleep` is a timer due to the millisecond; `sleep(0)` is none."""

    async def main() -> Any:
        await asyncio.sleep(0)
        for seconds in (0.1, 1.001, 2.3, 0.0001):
            before = now()
            await asyncio.sleep(seconds)
            assert (now() - before).total_seconds() >= seconds

    run = Run(main)
    began = run.clock
    for millis in (100, 1001, 2300, 1):
        (key,) = run.open
        assert run.execution.open[key].due == began + millis
        run.settle(key)
        began = run.clock
    assert run.result is None
    run.close()


def test_an_endless_sleep_never_ends() -> None:
    """`asyncio.sleep(inf)` asks for nothing, and can still be cancelled."""

    async def main() -> Any:
        forever = asyncio.create_task(asyncio.sleep(float("inf")))
        await fetch("a")
        forever.cancel()
        await asyncio.wait([forever])
        return forever.cancelled()

    assert results(main) == [True]


def test_call_soon_and_call_later() -> None:
    """Plain callbacks run in order; `call_later` is a durable timer that can be cancelled."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        seen: list[str] = []
        done = asyncio.Event()
        loop.call_later(5, seen.append, "later")
        loop.call_later(9, done.set)
        cancelled = loop.call_later(7, seen.append, "never")
        loop.call_soon(seen.append, "soon")
        loop.call_at(loop.time() - 1, seen.append, "past")
        await fetch("a")
        cancelled.cancel()
        await done.wait()
        return seen

    found = results(main)
    assert ["soon", "past", "later"] in found
    run = Run(main)
    assert run.open == ["timer", "timer.2", "timer.3", "fetch"]
    run.settle("fetch")
    assert run.withdrawn == ["timer.3"]
    run.close()


def test_cancelling_a_task_withdraws_what_it_waits_for() -> None:
    """Cancelling an asyncio task withdraws the operation; its cleanup runs once."""

    async def main() -> Any:
        async def branch() -> None:
            try:
                await fetch("a")
            finally:
                await step("cleanup", lambda: None)

        running = asyncio.create_task(branch())
        await sleep(1)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        return running.cancelled()

    run = Run(main)
    run.settle("sleep")
    assert run.withdrawn == ["branch[0]/fetch"]
    assert run.to_the_end().result is True
    run.close()
    assert results(main) == [False, True]


def test_shield() -> None:
    """`shield` keeps a branch alive when what waits for it is cancelled."""

    async def main() -> Any:
        inner = asyncio.create_task(two("a"))
        try:
            async with asyncio.timeout(1):
                await asyncio.shield(inner)
        except TimeoutError:
            pass
        return await inner

    assert results(main) == [["a", "a"]]


def test_cancel_and_uncancel() -> None:
    """A body that swallows its own cancellation goes on, and may say so with `uncancel`."""

    async def main() -> Any:
        try:
            await fetch("a")
        except asyncio.CancelledError as error:
            current = asyncio.current_task()
            assert current is not None
            return [str(error), current.uncancel(), await fetch("b")]

    run = Run(main, cold=True)
    run.cancel("told to")
    assert run.withdrawn == ["fetch"]
    assert run.to_the_end().result == ["told to", 0, "b"]
    run.close()


def test_a_sleep_has_a_name() -> None:
    """It is in its key, and what replay compares; an empty one is refused, also for no wait."""

    async def main() -> Any:
        for name in ("", 7):
            with pytest.raises((ValueError, TypeError)):
                await sleep(0, name=name)  # type: ignore[arg-type]
        await sleep(5, name="trial period")
        await sleep_until(now() + timedelta(days=1), name="trial period")

    run = Run(main, cold=True)
    assert run.open == ["trial period"]
    assert run.to_the_end().asked == ["trial period", "trial period.2"]
    run.close()

"""parallel and race."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from rewake import TaskError, parallel, race, sleep, step
from tests.support.driver import Run
from tests.support.tasks import fail, fetch, results, two


def test_parallel_is_a_sliding_window() -> None:
    """The next item begins when any branch ends; results are in item order."""

    async def main() -> Any:
        return await parallel("abcd", two, concurrency=2)

    run = Run(main)
    assert run.open == ["parallel[0]/fetch", "parallel[1]/fetch"]
    run.settle("parallel[1]/fetch")
    run.settle("parallel[1]/fetch.2")
    assert run.open == ["parallel[0]/fetch", "parallel[2]/fetch"]
    assert run.to_the_end().result == [[x, x] for x in "abcd"]
    run.close()
    assert results(main, limit=100) == [[[x, x] for x in "abcd"]]


def test_parallel_fails_with_the_first_failure_and_cleans_up() -> None:
    """The first failure cancels the others and is raised when their cleanup is done."""

    async def main() -> Any:
        async def one(x: str) -> Any:
            try:
                return await (fail(x) if x == "b" else two(x))
            except asyncio.CancelledError:
                await step(f"undo-{x}", lambda: None)
                raise

        try:
            await parallel("abc", one)
        except TaskError as error:
            return str(error)

    assert results(main, limit=100) == ["ValueError: b"]
    run = Run(main)
    run.settle("parallel[1]/fail")
    assert run.open == ["parallel[0]/undo-a", "parallel[2]/undo-c"]
    run.close()


def test_parallel_of_nothing_and_of_bad_functions() -> None:
    """No items give no results; a function that raises, or returns no awaitable, fails."""

    async def main() -> Any:
        assert await parallel([], fetch) == []
        with pytest.raises(TypeError):
            await parallel([1], lambda x: x)  # type: ignore[arg-type, return-value]
        with pytest.raises(ZeroDivisionError):
            await parallel([1], lambda x: x / 0)  # type: ignore[arg-type, return-value]
        with pytest.raises(ValueError, match="concurrency"):
            await parallel([1], fetch, concurrency=0)
        return "done"

    assert results(main) == ["done"]


def test_race() -> None:
    """The first to settle wins, whether by a result or a failure; the others are withdrawn."""

    async def main() -> Any:
        try:
            return await race(two("a"), fetch("b"), fail("c"))
        except TaskError as error:
            return str(error)

    assert sorted(map(str, results(main))) == ["ValueError: c", "['a', 'a']", "b"]
    run = Run(main, cold=True)
    run.settle("race[1]/fetch")
    assert run.withdrawn == ["race[0]/fetch", "race[2]/fail"]
    run.close()


def test_race_against_a_timer() -> None:
    """A task against a sleep: whichever was observed first is the winner on every replay."""

    async def main() -> Any:
        async def late() -> str:
            await sleep(60)
            return "late"

        return await race(fetch("in time"), late())

    assert sorted(results(main)) == ["in time", "late"]


def test_cancelling_waits_for_the_cleanup_of_every_branch() -> None:
    """A cancelled `parallel` leaves no branch behind; cancelled twice, it cancels their cleanup."""

    async def main() -> Any:
        log: list[str] = []

        async def one(x: str) -> None:
            try:
                await fetch(x)
            except asyncio.CancelledError:
                await sleep(10)
                log.append(x)
                try:
                    await sleep(10)
                except asyncio.CancelledError:
                    await sleep(10)
                    log.append(x * 2)

        async def all_of_them() -> None:
            await parallel("ab", one)

        running = asyncio.create_task(all_of_them())
        await sleep(1)
        running.cancel()
        await sleep(15)
        running.cancel()
        await asyncio.wait([running])
        return [sorted(log), running.cancelled()]

    run = Run(main)
    run.settle("sleep")
    run.settle("all_of_them[0]/parallel[0]/sleep")
    run.settle("all_of_them[0]/parallel[1]/sleep")
    run.settle("sleep.2")
    assert run.to_the_end().result == [["a", "aa", "b", "bb"], True]
    run.close()

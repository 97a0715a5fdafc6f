"""Waiting for several at once: gather, groups, wait, as_completed."""

from __future__ import annotations

import asyncio
import sys
from asyncio import as_completed
from typing import Any

import pytest

from rewake import TaskError, step, task
from tests.support.driver import Run
from tests.support.tasks import fail, fetch, results, two


def test_gather() -> None:
    """`gather` gives results in argument order, whatever finishes first."""

    async def main() -> Any:
        return await asyncio.gather(two("a"), fetch("b"), two("c"))

    assert results(main) == [[["a", "a"], "b", ["c", "c"]]]


def test_gather_raises_the_first_failure_and_leaves_the_rest() -> None:
    """Without `return_exceptions` the first failure is raised; the others go on."""

    async def main() -> Any:
        others = asyncio.create_task(two("a"))
        try:
            await asyncio.gather(others, fail("b"))
        except TaskError as error:
            return [error.type, error.message, await others]

    assert results(main) == [["ValueError", "b", ["a", "a"]]]


def test_gather_returns_exceptions() -> None:
    """With `return_exceptions` failures are results."""

    async def main() -> Any:
        found = await asyncio.gather(two("a"), fail("b"), fail("c"), return_exceptions=True)
        return [each if isinstance(each, list) else str(each) for each in found]

    assert results(main) == [[["a", "a"], "ValueError: b", "ValueError: c"]]


def test_task_group() -> None:
    """A `TaskGroup` waits for all of its tasks."""

    async def main() -> Any:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(two(x)) for x in "abc"]
        return [each.result()[0] for each in tasks]

    assert results(main, limit=100) == [["a", "b", "c"]]


def test_task_group_with_a_failing_child() -> None:
    """A failing child cancels its siblings, whose cleanup is done before the group raises."""

    async def main() -> Any:
        log: list[Any] = []

        async def careful(x: str) -> None:
            try:
                await two(x)
            except asyncio.CancelledError:
                log.append(await step(f"undo-{x}", lambda: x))
                raise

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(careful("a"))
                group.create_task(careful("b"))
                group.create_task(fail("c"))
        except* TaskError as errors:
            log.append([str(error) for error in errors.exceptions])
        return log

    failed = ["ValueError: c"]
    found = results(main)
    assert all(each[-1] == failed for each in found)
    assert [failed] in found
    assert ["a", "b", failed] in found
    assert ["b", "a", failed] in found


def test_wait_for_the_first() -> None:
    """`wait(FIRST_COMPLETED)` names the one that ended first, and the rest can go on."""

    async def main() -> Any:
        tasks = {asyncio.create_task(fetch(x), name=x) for x in "abc"}
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait(left)
        return [[each.get_name() for each in group] for group in (done, left)]

    assert sorted(results(main)) == [
        [["a"], ["b", "c"]],
        [["b"], ["a", "c"]],
        [["c"], ["a", "b"]],
    ]


def test_wait_for_the_first_exception() -> None:
    """`wait(FIRST_EXCEPTION)` returns as soon as one fails."""

    async def main() -> Any:
        tasks = [asyncio.create_task(each) for each in (fetch("a"), fail("b"), fetch("c"))]
        done, left = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        failed = [each for each in done if each.exception()]
        return [len(failed), len(done) + len(left)]

    assert results(main) == [[1, 3]]


def test_wait_for_all_with_a_timeout() -> None:
    """`wait(timeout=)` is a durable timer, and returns what is done by then."""

    async def main() -> Any:
        tasks = [asyncio.create_task(fetch(x)) for x in "ab"]
        done, left = await asyncio.wait(tasks, timeout=10)
        return [[each.result() for each in done], len(left)]

    found = results(main)
    for each in ([[], 2], [["a"], 1], [["b"], 1], [["a", "b"], 0]):
        assert each in found


def test_wait_refuses_coroutines() -> None:
    """`wait` with coroutines raises `TypeError` in a workflow as it does outside."""

    async def main() -> Any:
        coro = fetch("a")
        with pytest.raises(TypeError, match="coroutines is forbidden"):
            await asyncio.wait([coro])  # type: ignore[type-var]
        coro.close()
        return "refused"

    assert results(main) == ["refused"]


def test_as_completed_of_raw_coroutines() -> None:
    """`as_completed` starts coroutines in the order given and yields results as they come."""

    async def main() -> Any:
        return [await each for each in as_completed([fetch(x) for x in "abc"])]

    found = results(main)
    assert sorted("".join(each) for each in found) == ["abc", "acb", "bac", "bca", "cab", "cba"]
    run = Run(main)
    assert run.open == ["fetch[0]/fetch", "fetch[1]/fetch", "fetch[2]/fetch"]
    run.close()


def test_as_completed_of_tasks_without_a_call() -> None:
    """`as_completed` starts any awaitables in the order given, though they hash by address."""

    async def main() -> Any:
        return [await each for each in as_completed([task(lambda x=x: x) for x in range(20)])]

    run = Run(main).to_the_end()
    assert run.result == list(range(20))
    run.close()


def test_as_completed_with_a_timeout() -> None:
    """`as_completed(timeout=)` raises `TimeoutError` for what is late."""

    async def main() -> Any:
        found = ""
        try:
            for each in as_completed([fetch("a"), fetch("b")], timeout=5):
                found += await each
        except TimeoutError:
            found += "late"
        return found

    assert sorted(results(main)) == ["ab", "alate", "ba", "blate", "late"]


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in Python 3.13")
def test_as_completed_asynchronously() -> None:
    """`async for` over `as_completed` yields the given tasks themselves."""

    async def main() -> Any:
        tasks = [asyncio.create_task(fetch(x), name=x) for x in "abc"]
        found = []
        async for each in as_completed(tasks):  # type: ignore[attr-defined, unused-ignore]
            assert each in tasks
            found.append(await each)
        return "".join(found)

    assert len(results(main)) == 6

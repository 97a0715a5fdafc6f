"""What a body forgets is told: an operation that was never awaited, a branch left behind, and a
refusal that it swallowed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from rewake import parallel, race, sleep, step, task, wait_for_approval, workflow
from rewake.errors import ForbiddenInWorkflow
from tests.support.virtual import Bench, Ended, virtually


@task
async def fetch(what: str = "a") -> str:
    return what


@task
async def fail(what: str = "a") -> str:
    raise ValueError(what)


def outcome(main: Callable[..., Any], **settings: Any) -> Any:
    """What a run of this body comes to: its result, or `Ended`."""
    found: list[Any] = []

    async def body(bench: Bench) -> None:
        try:
            found.append(await bench.run("main"))
        except Ended as error:
            found.append(error)

    main.__name__ = main.__qualname__ = "main"
    virtually([workflow(main), fetch, fail], body, **settings)
    return found[0]


async def _unused() -> None:
    fetch()  # type: ignore[unused-coroutine]


async def _returned() -> Any:
    return fetch()


async def _in_a_text() -> str:
    return f"got {fetch()}"


async def _nested() -> None:
    async def helper() -> None:
        await sleep(60)
        sleep(5)  # type: ignore[unused-coroutine]

    await asyncio.gather(helper(), fetch())


async def _step() -> None:
    step("number", lambda: 1)  # type: ignore[unused-coroutine]


async def _approval() -> None:
    asked = wait_for_approval("boss")
    await sleep(1)
    assert asked is not None


async def _parallel() -> None:
    parallel(["a"], fetch)  # type: ignore[unused-coroutine]


async def _race() -> None:
    race(fetch(), fetch())  # type: ignore[unused-coroutine]


@pytest.mark.parametrize("cached", [0, 256])
@pytest.mark.parametrize(
    ("main", "name"),
    [
        (_unused, "fetch"),
        (_returned, "fetch"),
        (_in_a_text, "fetch"),
        (_nested, "sleep"),
        (_step, "step"),
        (_approval, "wait_for_approval"),
        (_parallel, "parallel"),
        (_race, "fetch"),
    ],
)
def test_an_operation_that_was_never_awaited_fails_the_run(
    main: Callable[..., Any], name: str, cached: int
) -> None:
    """A body that returns with one fails, in a sentence with its name, file and line; so does one
    that returns it or puts it into a text, warm and cold.
    """
    ended = outcome(main, cached=cached)

    assert isinstance(ended, Ended)
    assert ended.failure is not None
    assert f"{name}(...) was never awaited" in ended.failure.message
    assert f"({__file__}, line " in ended.failure.message


async def _raced() -> Any:
    return await race(fetch(), sleep(100))


async def _gathered() -> Any:
    return len(await asyncio.gather(fetch(), fail(), sleep(5), return_exceptions=True))


async def _first_failure() -> str:
    async def slow() -> None:
        held = fetch()
        await sleep(100)
        await held

    try:
        await asyncio.gather(slow(), fail())
    except Exception as error:
        return type(error).__name__
    return "?"


async def _cancelled() -> str:
    async def branch() -> None:
        held = fetch()
        await sleep(100)
        await held

    begun = asyncio.create_task(branch())
    never_begun = asyncio.create_task(fetch())
    never_begun.cancel()
    await sleep(1)
    begun.cancel()
    await asyncio.wait([begun, never_begun])
    return "done"


async def _closed() -> str:
    held = fetch()
    held.close()
    return "done"


async def _grouped() -> str:
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            group.create_task(sleep(100))
    except ExceptionGroup:
        return "done"
    return "?"


async def _generated() -> str:
    async def pages() -> AsyncIterator[str]:
        following = fetch("a")
        while True:
            page = await following
            following = fetch("b")
            yield page

    async for page in pages():
        return page
    return "?"


async def _first_completed() -> int:
    tasks = [asyncio.ensure_future(each) for each in (fetch(), sleep(100))]
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    return len(done)


async def _gathered_in_time() -> str:
    try:
        await asyncio.wait_for(asyncio.gather(sleep(100), asyncio.gather(sleep(200))), 1)
    except TimeoutError:
        return "late"
    return "?"


async def _shielded() -> str:
    both = asyncio.gather(fetch(), sleep(100))
    try:
        await asyncio.wait_for(asyncio.shield(both), 1)
    except TimeoutError:
        return "late"
    return "?"


async def _timed_out() -> str:
    try:
        await asyncio.wait_for(sleep(100), 1)
    except TimeoutError:
        return "late"
    return "?"


async def _in_window() -> Any:
    try:
        return await parallel(["a", "b", "c"], fail, concurrency=1)
    except Exception as error:
        return type(error).__name__


@pytest.mark.parametrize("cached", [0, 256])
@pytest.mark.parametrize(
    ("main", "wanted"),
    [
        (_raced, "a"),
        (_gathered, 3),
        (_first_failure, "TaskError"),
        (_cancelled, "done"),
        (_closed, "done"),
        (_grouped, "done"),
        (_generated, "a"),
        (_first_completed, 1),
        (_timed_out, "late"),
        (_gathered_in_time, "late"),
        (_shielded, "late"),
        (_in_window, "TaskError"),
    ],
)
def test_an_ordinary_program_is_not_alarmed(
    main: Callable[..., Any], wanted: Any, cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Races, failing gathers, groups, cancelled branches, generators left half-way: none is told
    of a coroutine or a branch that its own course left behind.
    """
    assert outcome(main, cached=cached) == wanted
    assert not [each for each in caplog.records if each.name == "rewake.workflow"]


def test_the_error_of_the_body_wins() -> None:
    """A body that raised fails with its own error, whatever it had not awaited."""

    async def main() -> None:
        fetch()  # type: ignore[unused-coroutine]
        raise LookupError("mine")

    ended = outcome(main)
    assert (ended.failure.type, ended.failure.message) == ("LookupError", "mine")


@pytest.mark.parametrize("cached", [0, 256])
def test_a_branch_left_behind_is_warned_of(cached: int, caplog: pytest.LogCaptureFixture) -> None:
    """`create_task` without an await: the run ends, the branch is cancelled, and that is said."""

    async def main() -> str:
        await sleep(60)
        asyncio.create_task(fetch())  # noqa: RUF006 - that is the point
        return "done"

    assert outcome(main, cached=cached) == "done"
    said = [each.getMessage() for each in caplog.records if each.name == "rewake.workflow"]
    assert len(said) == 1
    assert "its branch fetch[0], which nobody awaits" in said[0]


@pytest.mark.parametrize("cached", [0, 256])
def test_a_gather_left_behind_is_warned_of(cached: int, caplog: pytest.LogCaptureFixture) -> None:
    """`gather` without an await, also of a `gather`: what of it has not ended is cancelled."""

    async def main() -> str:
        asyncio.gather(fetch(), asyncio.gather(sleep(200), sleep(300)))
        await sleep(60)
        return "done"

    assert outcome(main, cached=cached) == "done"
    said = [each.getMessage() for each in caplog.records if each.name == "rewake.workflow"]
    assert len(said) == 2
    assert all("nobody awaits" in each and "branch sleep[" in each for each in said)


@pytest.mark.parametrize("cached", [0, 256])
def test_a_refusal_that_is_swallowed_is_warned_of(
    cached: int, caplog: pytest.LogCaptureFixture
) -> None:
    """An `except Exception` around I/O hides that it was refused: file and line are told, once."""

    async def main() -> str:
        try:
            Path("/tmp/none").read_text()  # noqa: ASYNC240 - that is the point
        except Exception:
            logging.getLogger(__name__).debug("no matter")
        with contextlib.suppress(ForbiddenInWorkflow):
            await asyncio.to_thread(print)
        await sleep(60)
        return "done"

    assert outcome(main, cached=cached) == "done"
    said = [each.getMessage() for each in caplog.records if each.name == "rewake.workflow"]
    assert ["pathlib.Path.read_text" in said[0], "loop.run_in_executor" in said[1]] == [True] * 2
    assert all(f"({__file__}, line " in each for each in said)

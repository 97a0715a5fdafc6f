"""How a workflow ends, and what it raises."""

from __future__ import annotations

import asyncio
import gc
import sys
from typing import Any

import pytest

from rewake import TaskError, now, random, sleep, step, uuid4
from tests.support.driver import Failed, Run
from tests.support.tasks import fail, fetch, results, two


def test_tasks_are_kept_alive() -> None:
    """A background task that nobody holds is not lost to the collector."""

    async def main() -> Any:
        found: list[Any] = []

        async def background() -> None:
            found.append(await fetch("a"))

        asyncio.create_task(background())  # noqa: RUF006 - that is the point
        await sleep(1)
        return found

    run = Run(main)
    gc.collect()
    run.settle("background[0]/fetch")
    assert run.to_the_end().result == ["a"]
    run.close()


def test_background_tasks_are_cancelled_at_the_end() -> None:
    """As with `asyncio.run`: what is left is cancelled, in order, and its cleanup is waited for."""
    log: list[str] = []

    async def main() -> Any:
        log.clear()

        async def background(name: str) -> None:
            try:
                await fetch(name)
            finally:
                log.append(await step(f"undo-{name}", lambda: name))

        for name in ("a", "b"):
            asyncio.create_task(background(name))  # noqa: RUF006 - left behind on purpose
        await sleep(1)
        return "done"

    run = Run(main)
    run.settle("sleep")
    assert run.withdrawn == ["background[0]/fetch", "background[1]/fetch"]
    assert not run.finished
    assert run.to_the_end().result == "done"
    assert log == ["a", "b"]
    run.close()
    assert results(main) == ["done"]


def test_the_end_withdraws_what_is_open() -> None:
    """Timers and operations that nobody awaits any more are withdrawn with the end."""

    async def main() -> Any:
        asyncio.get_running_loop().call_later(60, print)
        return await fetch("a")

    run = Run(main, cold=True)
    run.settle("fetch")
    assert run.withdrawn == ["timer"]
    assert run.result == "a"
    run.close()


def test_exception_groups() -> None:
    """`except*` takes failures of a group apart."""

    async def main() -> Any:
        found = []
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(fail("a"))
                group.create_task(two("b"))
        except* TaskError as errors:
            found += [str(each) for each in errors.exceptions]
        except* TimeoutError:
            found.append("never")
        return found

    assert results(main) == [["ValueError: a"]]


def test_finally_blocks_run_their_operations_once() -> None:
    """Operations in `finally` happen once in a run, however often it is replayed."""

    async def main() -> Any:
        try:
            await fetch("a")
            return await fail("b")
        finally:
            await fetch("cleanup")

    run = Run(main, cold=True).to_the_end()
    with pytest.raises(Failed, match="ValueError: b"):
        _ = run.result
    assert run.asked == ["fetch", "fail", "fetch.2"]
    assert set(run.world.called.values()) == {1}
    run.close()


def test_a_bare_except_sees_only_failures() -> None:
    """Nothing is ever thrown in to suspend, so a bare `except` keeps its meaning."""

    async def main() -> Any:
        caught = []
        for x in "ab":
            try:
                await sleep(1)
                await (fail if x == "a" else fetch)(x)
            except:  # noqa: E722
                caught.append(x)
        return caught

    assert results(main) == [["a"]]


def test_except_exception_around_a_task() -> None:
    """`except Exception` around a task catches a `TaskError` with the original type and text."""

    async def main() -> Any:
        caught: Exception | None = None
        try:
            await fail("a")
        except Exception as error:
            caught = error
        assert isinstance(caught, TaskError)
        assert "raise ValueError" in caught.traceback
        return [caught.type, caught.message, caught.attempts]

    assert results(main) == [["ValueError", "a", 1]]


def test_an_ordinary_exception_fails_the_run() -> None:
    """An exception of the workflow's own ends the run with its type and message."""

    async def main() -> Any:
        await fetch("a")
        raise LookupError("mine")

    assert results(main) == [("LookupError", "mine")]


def test_system_exit_fails_the_run_and_not_the_server() -> None:
    """`sys.exit()` in a body, or in a branch of it, fails the run."""

    async def main(in_branch: bool) -> Any:
        await fetch("a")
        if in_branch:
            await asyncio.create_task(leave())
        sys.exit(3)

    async def leave() -> None:
        sys.exit(3)

    assert results(main, False) == [("SystemExit", "3")]
    assert results(main, True) == [("SystemExit", "3")]


def test_keyboard_interrupt_passes_through_and_spoils_the_instance() -> None:
    """Ctrl-C reaches the process; the instance it hit can neither end nor go on."""

    async def main() -> Any:
        await fetch("a")
        raise KeyboardInterrupt

    run = Run(main)
    with pytest.raises(KeyboardInterrupt):
        run.settle("fetch")
    assert not run.finished
    assert run.execution.error is not None
    run.close()
    again = Run(main)
    assert again.open == ["fetch"]
    again.close()


def test_recursion() -> None:
    """Branches may recurse deeper than a key could spell out: keys stay short and distinct."""

    async def walk(depth: int) -> Any:
        if depth == 0:
            return await fetch("leaf")
        found, here = await asyncio.gather(walk(depth - 1), fetch(depth))
        return found if here else None

    async def main() -> Any:
        return await walk(80)

    run = Run(main).to_the_end()
    assert run.result == "leaf"
    assert len(set(run.asked)) == len(run.asked) == 81
    assert max(map(len, run.asked)) < 512
    assert run.replayed().error is None
    run.close()


def test_time_and_chance_are_replayed() -> None:
    """`now`, `random` and `uuid4` give the same on replay; time stands still between events."""

    async def main() -> Any:
        seen = []
        for _ in range(3):
            assert now() == now()
            seen.append([now(), random().random(), uuid4()])
            await sleep(1)
        return [str(each) for each in seen]

    assert len(results(main)) == 1
    run = Run(main).to_the_end()
    assert len(set(run.result)) == 3
    run.close()

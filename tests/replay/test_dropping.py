"""A suspended instance may be dropped at any moment: nothing happens, nothing is lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rewake import parallel, race, sleep, step, task, wait_for_approval
from rewake.replay import loop as loop_module
from tests.support.driver import Run

ran: list[str] = []
"""What tasks and steps have really done."""


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Whatever a test drops is collected here; it must not warn, log or run anything."""
    ran.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
        gc.collect()
    assert [each for each in caplog.records if each.levelno > logging.WARNING] == []
    assert ran == [], "a dropped instance has really done something"


@task
async def fetch(x: Any) -> Any:
    ran.append("fetch")
    return x


def act() -> None:
    ran.append("step")


def dropped(function: Callable[..., Awaitable[Any]], *settle: str) -> Run:
    """Run as far as these operations go, drop, and assert that nothing was asked for."""
    run = Run(function)
    for key in settle:
        run.settle(key, None)
    ran.clear()
    history = list(run.history)
    run.execution.drop()
    assert run.execution.open == {}
    assert run.execution.fresh == []
    assert run.history == history
    run.execution.drop()
    again = run.replayed()
    assert again.error is None
    again.drop()
    return run


def test_finally_blocks_run_without_effect() -> None:
    """They run, on all kinds of operations, and nothing of it happens or is asked for."""
    reached: list[str] = []

    async def main() -> Any:
        try:
            await sleep(10)
        finally:
            reached.append("finally")
            try:
                await fetch("a")
            finally:
                reached.append("inner")
                try:
                    await asyncio.gather(fetch("b"), step("act", act), sleep(1))
                finally:
                    reached.append("innermost")
                    await wait_for_approval()

    dropped(main)
    assert reached == ["finally", "inner", "innermost"] * 2


def test_branches_end_too() -> None:
    """Every branch is ended: of gather, groups, parallel, race, and background tasks."""
    ended: list[str] = []

    async def branch(x: str) -> None:
        try:
            await sleep(10)
        finally:
            ended.append(x)
            await step("act", act)

    async def main() -> Any:
        background = asyncio.create_task(branch("background"))
        async with asyncio.TaskGroup() as group:
            group.create_task(branch("group"))
            await asyncio.gather(
                branch("gather"), parallel(["parallel"], branch), race(branch("race"))
            )
        await background

    dropped(main)
    assert sorted(ended[:5]) == ["background", "gather", "group", "parallel", "race"]


def test_all_of_asyncios_cleanup_runs_without_effect() -> None:
    """Locks, timeouts, shields, queues and exit stacks unwind on the dead loop."""

    async def main() -> Any:
        lock, queue, event = asyncio.Lock(), asyncio.Queue[int](), asyncio.Event()

        async def waiting(what: Awaitable[Any]) -> None:
            try:
                async with asyncio.timeout(60):
                    await asyncio.shield(asyncio.ensure_future(what))
            finally:
                await asyncio.wait_for(fetch("a"), 5)

        async with lock, asyncio.TaskGroup() as group:
            for each in (queue.get(), event.wait(), lock.acquire(), sleep(4)):
                group.create_task(waiting(each))

    dropped(main)


def test_nested_context_managers_unwind() -> None:
    """Async context managers made of generators, nested, whose exits wait for operations."""

    @asynccontextmanager
    async def lease(name: str) -> AsyncIterator[str]:
        await step(f"take-{name}", act)
        try:
            yield name
        finally:
            await step(f"give-{name}", act)
            await step(f"note-{name}", act)

    async def main() -> Any:
        async with lease("a"), lease("b"), lease("c"):
            await sleep(10)

    dropped(main, "take-a", "take-b", "take-c")


def test_generators_that_are_left_are_let_go() -> None:
    """A suspended async generator of a dropped instance never runs again, nor warns."""
    reached: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            reached.append("finally")
            await fetch("in finally")
            await step("act", act)

    async def main() -> Any:
        held: list[Any] = []
        async for _ in numbers():
            break
        generator = numbers()
        held.append(generator)
        held.append(held)
        await anext(generator)
        await sleep(10)

    async def in_a_server() -> None:
        dropped(main)
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(in_a_server())
    assert reached == []


def test_generators_that_wait_are_let_go() -> None:
    """An async generator that is itself waiting for an operation unwinds without effect."""

    async def numbers() -> AsyncIterator[int]:
        try:
            yield await fetch(1)
        finally:
            await step("act", act)

    async def main() -> Any:
        return [each async for each in numbers()]

    async def in_a_server() -> None:
        dropped(main)
        gc.collect()
        await asyncio.sleep(0)

    asyncio.run(in_a_server())


def test_dropping_inside_a_server_runs_nothing_there() -> None:
    """Cleanup is not taken for plain Python, even though another loop is running around it."""

    async def main() -> Any:
        try:
            await sleep(10)
        finally:
            try:
                await fetch("a")
            except BaseException:
                await asyncio.gather(fetch("b"), step("act", act))

    async def in_a_server() -> None:
        before = asyncio.all_tasks()
        dropped(main)
        assert asyncio.all_tasks() == before
        for _ in range(5):
            await asyncio.sleep(0)
        current = asyncio.current_task()
        assert current is not None
        assert current in before

    asyncio.run(in_a_server())


def test_coroutines_that_were_not_awaited_yet_do_not_warn() -> None:
    """A body may hold coroutines for later; dropping it is no reason to complain about them."""

    async def main() -> Any:
        later = [fetch(x) for x in "abc"]
        also = sleep(5)
        await sleep(1)
        await also
        return await asyncio.gather(*later)

    dropped(main)


def test_tasks_that_did_not_begin_do_not_warn() -> None:
    """Branches that are created while cleaning up, or never reached, are closed silently."""

    async def main() -> Any:
        try:
            await sleep(1)
        finally:
            asyncio.create_task(fetch("a"))  # noqa: RUF006
            async with asyncio.TaskGroup() as group:
                group.create_task(fetch("b"))
                await parallel("cd", fetch)

    dropped(main)


@pytest.mark.parametrize("waits", ["sleep", "task", "asyncio", "event", "gather"])
def test_bodies_that_swallow_everything_cannot_hang(
    waits: str, caplog: pytest.LogCaptureFixture
) -> None:
    """`while True: try ... except BaseException` is left behind, and never runs again."""
    rounds: list[int] = []

    async def main() -> Any:
        while True:
            rounds.append(1)
            try:
                match waits:
                    case "sleep":
                        await sleep(1)
                    case "task":
                        await fetch("a")
                    case "asyncio":
                        await asyncio.sleep(1)
                    case "event":
                        await asyncio.Event().wait()
                    case _:
                        await asyncio.gather(fetch("a"), sleep(2), return_exceptions=True)
            except BaseException:
                pass

    run = Run(main)
    left = len(loop_module._graveyard)
    run.execution.drop()
    assert len(loop_module._graveyard) == left + 1
    assert "swallows every exception" in caplog.text
    assert len(rounds) <= 1 + loop_module._UNWINDING_ATTEMPTS
    done = len(rounds)
    run.execution.drop()
    gc.collect()
    assert len(rounds) == done


def test_timers_and_futures_do_nothing_on_a_dead_loop() -> None:
    """Cleanup may create and cancel timers, futures, tasks; the dead loop takes and forgets all."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(5, act)
        try:
            await sleep(1)
        finally:
            timer.cancel()
            loop.call_soon(act)
            loop.call_later(0, act).cancel()
            loop.call_at(loop.time() - 1, act)
            future = loop.create_future()
            future.add_done_callback(lambda _: act())
            future.set_result(None)
            asyncio.ensure_future(fetch("a")).cancel()

    dropped(main)


def test_errors_in_cleanup_are_nobodys() -> None:
    """Exceptions and unretrieved failures of a dropped instance are not logged."""

    async def branch() -> None:
        try:
            await sleep(5)
        finally:
            raise LookupError("from the cleanup of a branch")

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        running = asyncio.create_task(branch())
        try:
            await sleep(1)
        finally:
            loop.create_future().set_exception(ValueError("nobody looks"))
            running.cancel()
            sys.exit(3)

    dropped(main)


def test_a_stuck_instance_can_be_dropped() -> None:
    """An instance that the checks stopped is dropped like any other."""

    async def before() -> Any:
        await fetch("a")

    async def after() -> Any:
        try:
            await asyncio.gather(fetch("b"), sleep(1))
        finally:
            await step("act", act)

    run = Run(before)
    replayed = run.replayed(after)
    assert replayed.error is not None
    replayed.drop()
    run.close()


def test_dropping_while_it_never_began() -> None:
    """An instance that was fed nothing is dropped without a sound."""

    async def main() -> Any:
        await fetch("a")

    run = Run(main, begin=False)
    run.execution.drop()


def test_another_instance_goes_on() -> None:
    """Dropping one instance of a run leaves another instance of it alone."""

    async def main() -> Any:
        return [await fetch("a"), await fetch("b")]

    run = Run(main)
    twin = run.replayed()
    run.settle("fetch", "A")
    twin.drop()
    run.settle("fetch.2", "B")
    assert run.result == ["A", "B"]
    run.close()


def test_an_instance_that_nobody_dropped() -> None:
    """Should somebody forget to drop an instance, it is kept: the collector would run its code."""

    async def main() -> Any:
        try:
            await asyncio.gather(fetch("a"), sleep(1))
        finally:
            try:
                await fetch("b")
            finally:
                await step("act", act)

    async def in_a_server() -> None:
        before = set(loop_module._living)
        Run(main)
        gc.collect()
        for _ in range(5):
            await asyncio.sleep(0)
        (forgotten,) = loop_module._living - before
        forgotten.drop()
        assert loop_module._living == before

    asyncio.run(in_a_server())

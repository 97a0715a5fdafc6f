"""Threads of sync functions: who waits for whom, and what becomes of those that do not end.

The threads are real, and wait for events of the test; nothing here waits for time.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest

from rewake import step, task, workflow
from rewake.authoring.attempt import NotBegun, attempt
from rewake.authoring.context import LocalLog, TaskContext
from rewake.embed import (
    App,
    Engine,
    InProcessDispatcher,
    MemoryTable,
    Settings,
    SystemClock,
)
from rewake.engine.process.threads import ThreadPool
from tests.support.virtual import SECRET

PATIENCE = 20.0


class Gate:
    """A sync function that says that it has begun, and ends when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(PATIENCE)
        return "done"


def call(
    pool: ThreadPool, function: Callable[[], object], timeout: float | None = None
) -> asyncio.Task[object]:
    """An attempt at a function, begun."""
    context = TaskContext("r1", "hangs", 1, LocalLog())
    work = attempt(function, (), {}, timeout=timeout, context=context, threads=pool)
    return asyncio.ensure_future(work)


async def until(holds: Callable[[], bool]) -> None:
    """Give way until it holds."""
    async with asyncio.timeout(PATIENCE):
        while not holds():  # noqa: ASYNC110 - a thread brings it about, which knows no event
            await asyncio.sleep(0)


@contextmanager
def a_pool(size: int) -> Iterator[ThreadPool]:
    pool = ThreadPool(size, "rewake-test")
    try:
        yield pool
    finally:
        pool.close()


async def abandoned(pool: ThreadPool) -> Gate:
    """A call that was cancelled, and goes on in its thread."""
    gate = Gate()
    task = call(pool, gate)
    await until(gate.begun.is_set)
    task.cancel()
    await asyncio.wait({task})
    return gate


def pooled(body: Callable[[ThreadPool], Awaitable[None]], size: int) -> None:
    async def main() -> None:
        with a_pool(size) as pool:
            await body(pool)

    asyncio.run(main())


def test_an_abandoned_thread_takes_nobodys_place(caplog: pytest.LogCaptureFixture) -> None:
    """However many calls are over while their threads go on, the next one begins at once."""

    async def body(pool: ThreadPool) -> None:
        gates = [await abandoned(pool) for _ in range(5)]
        assert pool.abandoned == 5
        assert await call(pool, lambda: "called") == "called"
        for gate in gates:
            gate.go.set()
        await until(lambda: pool.abandoned == 0)
        assert await call(pool, lambda: "called") == "called"

    with caplog.at_level(logging.INFO, "rewake.engine"):
        pooled(body, size=2)
    told = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(told) == 5, "each is told of once"
    assert all("attempt 1 at hangs of run r1" in line for line in told)
    assert told[-1].endswith("(abandoned threads: 5)")


def test_a_call_that_waits_takes_the_place_of_an_abandoned_one() -> None:
    """What waits for a thread begins when a call is abandoned, not when its thread ends."""

    async def body(pool: ThreadPool) -> None:
        gate, waits = Gate(), call(pool, lambda: "called")
        await waits
        task = call(pool, gate)
        waits = call(pool, lambda: "called")
        await until(gate.begun.is_set)
        assert not waits.done()
        task.cancel()
        assert await waits == "called"
        gate.go.set()

    pooled(body, size=1)


def test_no_more_run_at_once_than_there_is_room_for() -> None:
    """The others wait in turn, and each is called once."""

    async def body(pool: ThreadPool) -> None:
        first, second, order = Gate(), Gate(), list[int]()
        tasks = [call(pool, first), call(pool, second)]
        tasks += [call(pool, lambda number=number: order.append(number)) for number in range(4)]  # type: ignore[misc]
        await until(lambda: first.begun.is_set() and second.begun.is_set())
        assert order == []
        first.go.set()
        await asyncio.gather(tasks[0], *tasks[2:])
        assert order == [0, 1, 2, 3]
        second.go.set()
        await tasks[1]

    pooled(body, size=2)


def test_a_time_out_does_not_run_while_a_call_waits_for_a_thread() -> None:
    """A call that waits for longer than its own time-out is called all the same, and succeeds."""

    async def body(pool: ThreadPool) -> None:
        gate = Gate()
        holder = call(pool, gate)
        await until(gate.begun.is_set)
        waits = call(pool, lambda: "called", timeout=1e-9)
        ticks = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(1e-6, ticks.set_result, None)
        await ticks
        assert not waits.done()
        waits.cancel()
        begun, fine = Gate(), call(pool, lambda: "called", timeout=PATIENCE)
        overdue = call(pool, begun, timeout=1e-9)
        gate.go.set()
        assert (await holder, await fine) == ("done", "called")
        with pytest.raises(TimeoutError, match="took longer"):
            await overdue
        begun.go.set()

    pooled(body, size=1)


def test_what_was_withdrawn_while_it_waited_is_never_called() -> None:
    """A call that is cancelled before it has a thread does not run later."""

    async def body(pool: ThreadPool) -> None:
        gate, called = Gate(), list[int]()
        holder = call(pool, gate)
        waits = call(pool, lambda: called.append(1))
        await until(gate.begun.is_set)
        waits.cancel()
        await asyncio.wait({waits})
        gate.go.set()
        await holder
        await call(pool, lambda: None)
        assert called == []
        assert pool.abandoned == 0

    pooled(body, size=1)


def test_a_closed_pool_begins_nothing() -> None:
    """A call that comes when the process ends says so, and its function is not called."""

    async def body(pool: ThreadPool) -> None:
        pool.close()
        with pytest.raises(NotBegun):
            await call(pool, lambda: None)

    pooled(body, size=1)


def test_a_thread_that_cannot_start_is_a_shortage(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call says that it was not begun; the pool is as before, and the next one is called."""

    async def body(pool: ThreadPool) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", short)
            with pytest.raises(NotBegun, match="can't start new thread"):
                await call(pool, lambda: None)
        assert await call(pool, lambda: "called") == "called"

    def short(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    pooled(body, size=1)


def test_a_forked_child_does_not_go_on_as_the_server() -> None:
    """A child that a sync function forks, and that returns from it, ends there."""

    async def body(pool: ThreadPool) -> None:
        child = await call(pool, os.fork)
        assert isinstance(child, int)
        assert child > 0, "the child returned to the server"
        _, status = await asyncio.to_thread(os.waitpid, child, 0)
        assert os.waitstatus_to_exitcode(status) == 1

    pooled(body, size=1)


holds = Gate()


@task
def slow() -> str:
    return holds()


@workflow
async def held() -> str:
    return await slow()


@workflow
async def stamped() -> int:
    return await step("stamp", lambda: 42)


def test_slow_tasks_keep_no_step_from_beginning() -> None:
    """Where tasks use all their threads, a sync step of another run has its own."""

    async def main() -> None:
        app = App()
        for member in (slow, held, stamped):
            app.add(member)
        dispatcher = InProcessDispatcher(SystemClock())
        engine = Engine(app, MemoryTable(), dispatcher, SECRET, settings=Settings(tasks=1))
        engine.open()
        first, _ = await engine.start("held", {})
        await until(holds.begun.is_set)
        second, _ = await engine.start("stamped", {})
        assert await engine.result(second.run, PATIENCE) is not None
        holds.go.set()
        assert await engine.result(first.run, PATIENCE) is not None
        await engine.close()

    asyncio.run(main())

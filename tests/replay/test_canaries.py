"""Private parts of asyncio and CPython that the replay core relies on.

Each of these fails on a Python minor that changes one of them. They were last seen to hold on the
versions in `SEEN`; on another one, read the failures here before anything else.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import asyncio.tasks
import contextvars
import inspect
import sys
import weakref
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from rewake.replay import asyncio_order
from rewake.replay.loop import WorkflowLoop, WorkflowTimer
from rewake.replay.mistakes import Mistakes
from rewake.replay.origins import Origins, note_failure
from rewake.replay.scope import Scope

SEEN = [(3, 11), (3, 12), (3, 13), (3, 14)]

tasks_module: Any = asyncio.tasks


class NoTimers:
    package = "tests"
    mistakes = Mistakes()
    origins = Origins()

    def arm(self, timer: WorkflowTimer) -> None: ...

    def disarm(self, timer: WorkflowTimer) -> None: ...


@pytest.fixture
def loop() -> Iterator[WorkflowLoop]:
    """A bare loop, dropped after the test."""
    loop = WorkflowLoop(NoTimers())
    yield loop
    loop.drop()


def drive(loop: WorkflowLoop, coro: Any) -> Any:
    """Run a coroutine as the only task of the loop."""
    with loop:
        task = loop.spawn(coro, Scope("main/"))
        loop.run_until_idle()
    return task.result()


def test_this_python_was_looked_at() -> None:
    """Everything below was checked on this Python minor (3.11 to 3.14)."""
    assert sys.version_info[:2] in SEEN


def test_handles() -> None:
    """3.11-3.14: `Handle._run` runs the callback in its context, `_cancelled` says it must not."""
    ran: list[int] = []
    handle = asyncio.Handle(ran.append, (1,), WorkflowLoop(NoTimers()))
    assert not handle._cancelled
    handle._run()
    assert ran == [1]
    handle.cancel()
    assert handle.cancelled()
    assert handle._cancelled


def test_cancelled_timers_tell_their_loop(loop: WorkflowLoop) -> None:
    """3.11-3.14: `TimerHandle.cancel` calls `_timer_handle_cancelled`, once."""
    told: list[object] = []
    owner: Any = loop.owner
    owner.disarm = told.append
    timer = loop.call_later(5, print)
    timer.cancel()
    timer.cancel()
    assert told == [timer]


def test_the_running_loop_can_be_swapped(loop: WorkflowLoop) -> None:
    """3.11-3.14: `_set_running_loop` decides what `get_running_loop` says; nesting is possible."""

    async def inner() -> Any:
        assert asyncio.get_running_loop() is loop
        return asyncio.current_task()

    async def outer() -> Any:
        mine = asyncio.current_task()
        theirs = drive(loop, inner())
        assert asyncio.current_task() is mine
        return theirs is not mine

    assert asyncio.run(outer())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_the_current_task_can_be_swapped() -> None:
    """3.12-3.14: `_swap_current_task(loop, None)` takes the outer task away and gives it back."""

    async def main() -> None:
        outer = asyncio.get_running_loop()
        mine = tasks_module._swap_current_task(outer, None)
        assert asyncio.current_task() is None
        assert tasks_module._swap_current_task(outer, mine) is None
        assert asyncio.current_task() is mine

    asyncio.run(main())


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="a list in C, for each thread")
def test_tasks_can_leave_the_registry(loop: WorkflowLoop) -> None:
    """3.11-3.13: `_unregister_task` takes a task out of what `all_tasks` goes through, for good."""

    async def nothing() -> None:
        await loop.create_future()

    with loop:
        task = loop.spawn(nothing(), Scope("main/"))
        loop.run_until_idle()
    assert task not in list(getattr(tasks_module, asyncio_order.REGISTRY))


def test_all_tasks_goes_through_the_registry(loop: WorkflowLoop) -> None:
    """3.11: `_all_tasks`, 3.12-3.13: `_scheduled_tasks`, looked up when called; 3.14: replaced."""

    async def main() -> Any:
        others = [loop.create_task(asyncio.sleep(1), name=str(n)) for n in range(20)]
        return asyncio.all_tasks() - {asyncio.current_task()} == set(others)

    assert drive(loop, main())
    assert asyncio.run(_all_tasks_outside()) == 2


async def _all_tasks_outside() -> int:
    other = asyncio.create_task(asyncio.sleep(0))
    count = len(asyncio.all_tasks())
    await other
    return count


def test_pending_tasks_can_go_silently(loop: WorkflowLoop) -> None:
    """3.11-3.14: `Task._log_destroy_pending` exists and can be set."""

    async def main() -> Any:
        return asyncio.current_task()

    task = drive(loop, main())
    task._log_destroy_pending = False
    assert task._log_destroy_pending is False


def test_callbacks_of_a_task_can_be_seen(loop: WorkflowLoop) -> None:
    """3.11-3.14: `Task._callbacks` lists pairs of callback and context, or is None."""

    async def main() -> Any:
        task: Any = loop.create_task(asyncio.sleep(5))
        assert [each for each, _ in task._callbacks] == [note_failure]
        task.add_done_callback(print)
        _, (callback, context) = task._callbacks
        return callback is print and isinstance(context, contextvars.Context)

    assert drive(loop, main())


def test_the_error_of_a_task_can_be_seen_and_still_counts_as_unseen(loop: WorkflowLoop) -> None:
    """3.11-3.14: `Task._exception` is the error, and reading it does not stop asyncio's log."""

    async def fails() -> None:
        raise ValueError

    async def main() -> Any:
        task: Any = loop.create_task(fails())
        await asyncio.wait([task])
        seen = isinstance(task._exception, ValueError), task._log_traceback
        task.exception()
        return seen

    assert drive(loop, main()) == (True, True)


def test_barriers_can_be_recognised(loop: WorkflowLoop) -> None:
    """3.11-3.14: `gather` waits by a closure over `outer`, `TaskGroup` by a method of its own."""

    async def main() -> Any:
        one, two = (loop.create_task(asyncio.sleep(5)) for _ in range(2))
        gathered = asyncio.gather(one)
        assert asyncio_order.barrier_of(one) == (gathered, (None, 0))
        quiet = asyncio.gather(two, return_exceptions=True)
        barrier, (successes, failures) = asyncio_order.barrier_of(two) or (None, (0, 0))
        assert (barrier, successes) == (quiet, None)
        assert failures > 0
        gathered.add_done_callback(lambda future: future.cancelled() or future.exception())
        group = asyncio.TaskGroup()
        async with group:
            child: Any = group.create_task(asyncio.sleep(0))
            assert asyncio_order.barrier_of(child) == (group, (None, 0))
        assert asyncio_order.barrier_of(loop.create_task(asyncio.sleep(0))) is None
        return True

    assert drive(loop, main())


def test_waits_can_be_recognised(loop: WorkflowLoop) -> None:
    """3.11-3.14: `wait` waits by a closure over `waiter` and `return_when`."""

    async def main() -> Any:
        pairs: list[Any] = []
        for until in (asyncio.ALL_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.FIRST_COMPLETED):
            both = [loop.create_task(asyncio.sleep(5)) for _ in range(2)]
            loop.create_task(asyncio.wait(both, return_when=until))
            pairs.append(both)
        await asyncio.sleep(0)
        every, failure, first = ([asyncio_order.barrier_of(one) for one in both] for both in pairs)
        assert every[0] is not None
        assert failure[0] is not None
        assert isinstance(every[0][0], asyncio.Future)
        assert every[0] == every[1] != failure[0] == failure[1]
        assert every[0][1].failures > failure[0][1].failures == 0
        assert first == [None, None]
        return True

    async def _wait() -> Any:
        def _on_completion(task: object) -> None: ...

        alike = loop.create_task(asyncio.sleep(5))
        _on_completion.__qualname__ = "_wait.<locals>._on_completion"
        alike.add_done_callback(_on_completion)
        return asyncio_order.barrier_of(alike) is None

    assert drive(loop, main())
    assert drive(loop, _wait())


def test_gather_looks_its_future_up(loop: WorkflowLoop) -> None:
    """3.11-3.14: `gather` makes its future from `asyncio.tasks._GatheringFuture` when called."""

    async def main() -> Any:
        return type(asyncio.gather(asyncio.sleep(5)))

    assert drive(loop, main()) is asyncio_order._OrderedGatheringFuture
    assert asyncio.run(_kind_of_gather()) is asyncio_order._GatheringFuture


async def _kind_of_gather() -> Any:
    gathered = asyncio.gather(asyncio.sleep(0))
    await gathered
    return type(gathered)


def test_where_asyncio_makes_sets() -> None:
    """3.11-3.14: `asyncio.tasks` calls `set(...)` in `wait` and `as_completed` and nowhere else."""
    source = inspect.getsource(asyncio.tasks)
    calls = [line.strip() for line in source.splitlines() if "set(" in line and "Set(" not in line]
    known = {
        "fs = set(fs)",
        "done, pending = set(), set()",
        "todo = {ensure_future(f, loop=loop) for f in set(fs)}",  # 3.11, 3.12
        "todo = {ensure_future(aw, loop=loop) for aw in set(aws)}",  # 3.13
        "_eager_tasks = set()",  # 3.12, 3.13: at import, before it is replaced
    }
    assert {line for line in calls if "reset(" not in line} <= known


def test_sets_outside_a_workflow_are_sets() -> None:
    """3.11-3.14: what `asyncio.tasks` sees as `set` is the built-in one elsewhere."""
    assert type(tasks_module.set([1])) is set

    async def main() -> None:
        done, left = await asyncio.wait([asyncio.ensure_future(asyncio.sleep(0))])
        assert type(done) is type(left) is set

    asyncio.run(main())


def test_hashes_of_our_own(loop: WorkflowLoop) -> None:
    """3.11-3.14: the C tasks and futures let a subclass hash by its own number."""
    futures = [loop.create_future() for _ in range(50)]
    assert list({*reversed(futures)}) == futures
    assert len({weakref.ref(each) for each in futures}) == 50


def test_throwing_reaches_the_innermost_wait() -> None:
    """3.11-3.14: `coro.throw` of a `BaseException` goes to the innermost await, `close` not."""

    class Thrown(BaseException):
        pass

    class Wait:
        def __await__(self) -> Any:
            yield

    reached: list[str] = []

    async def inner() -> None:
        try:
            await Wait()
        finally:
            reached.append("inner")
            try:
                await Wait()
            finally:
                reached.append("again")

    async def outer() -> None:
        await inner()

    coro = outer()
    coro.send(None)
    coro.throw(Thrown())
    with pytest.raises(Thrown):
        coro.throw(Thrown())
    assert reached == ["inner", "again"]
    assert inspect.getcoroutinestate(coro) == inspect.CORO_CLOSED


def test_a_finalizer_hook_replaces_finalisation() -> None:
    """3.11-3.14: an async generator with a finalizer hook is not closed when it is collected."""
    reached: list[str] = []
    collected: list[object] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            reached.append("finally")

    hooks = sys.get_asyncgen_hooks()
    sys.set_asyncgen_hooks(finalizer=lambda generator: collected.append(id(generator)))
    try:
        generator = numbers()
        with pytest.raises(StopIteration):
            anext(generator).__await__().send(None)
        del generator
    finally:
        sys.set_asyncgen_hooks(*hooks)
    assert len(collected) == 1
    assert reached == []


def test_generators_say_whether_they_ended() -> None:
    """3.11-3.14: `ag_frame` is None once an async generator has ended."""

    async def numbers() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        generator: Any = numbers()
        assert generator.ag_frame is not None
        async for _ in generator:
            assert generator.ag_frame is not None
        assert generator.ag_frame is None

    asyncio.run(main())


def test_coroutines_have_code() -> None:
    """3.11-3.14: a coroutine's `cr_code` is its function's code."""

    async def nothing() -> None: ...

    coro: Any = nothing()
    assert coro.cr_code is nothing.__code__
    coro.close()


def test_wait_for_makes_no_task(loop: WorkflowLoop) -> None:
    """3.11 wraps what `wait_for` waits for in a task, 3.12-3.14 do not; no workflow's does."""

    async def main() -> Any:
        async def inner() -> Any:
            return asyncio.current_task()

        return await asyncio.wait_for(inner(), 5) is asyncio.current_task()

    assert drive(loop, main())
    assert asyncio.run(main()) is (sys.version_info >= (3, 12))

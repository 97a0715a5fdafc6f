"""Ordinary asyncio inside a workflow: in every order of completion, warm and on forced replay.

`results` runs a workflow in every order in which its operations can end, warm and cold, and
compares the two; see `tests.support.driver`.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from asyncio import as_completed
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from rewake import TaskError, now, parallel, race, random, sleep, step, task, uuid4
from tests.support.driver import Failed, Run, same_in_every_order


@task
async def fetch(x: Any) -> Any:
    return x


@task
async def fail(x: Any) -> Any:
    raise ValueError(x)


async def two(x: Any) -> Any:
    """A branch of two operations."""
    return [await fetch(x), await fetch(x)]


def results(function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> list[Any]:
    """What a workflow returns over all orders, without repeats, sorted as text."""
    found: list[Any] = []
    for run in same_in_every_order(function, *args, **options):
        try:
            result = run.result
        except Failed as error:
            result = error.args[:2]
        if result not in found:
            found.append(result)
    return sorted(found, key=str)


# --- gather, TaskGroup, wait, as_completed -------------------------------------------------------


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


# --- time ----------------------------------------------------------------------------------------


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


# --- cancelling ----------------------------------------------------------------------------------


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


# --- primitives ----------------------------------------------------------------------------------


def test_event_queue_lock_semaphore() -> None:
    """Branches that meet at events, queues, locks and semaphores do so alike in every replay."""

    async def main() -> Any:
        ready, queue, lock = asyncio.Event(), asyncio.Queue[str](), asyncio.Lock()
        slots, order = asyncio.Semaphore(1), list[str]()

        async def producer(x: str) -> None:
            async with slots:
                await queue.put(await fetch(x))
            ready.set()

        async def consumer() -> list[str]:
            await ready.wait()
            found = []
            for _ in range(2):
                async with lock:
                    found.append(await queue.get())
                order.append(found[-1])
            return found

        _, _, found = await asyncio.gather(producer("a"), producer("b"), consumer())
        assert found == order
        return found

    assert results(main) == [["a", "b"]]


def test_condition_and_barrier() -> None:
    """`Condition` and `Barrier` let branches go on together."""

    async def main() -> Any:
        condition, barrier, seen = asyncio.Condition(), asyncio.Barrier(2), list[str]()

        async def worker(x: str) -> str:
            found: str = await fetch(x)
            await barrier.wait()
            async with condition:
                seen.append(found)
                condition.notify_all()
            return found

        async def watcher() -> list[str]:
            async with condition:
                await condition.wait_for(lambda: len(seen) == 2)
            return sorted(seen)

        return await asyncio.gather(worker("a"), worker("b"), watcher())

    assert results(main) == [["a", "b", ["a", "b"]]]


def test_bounded_workers_on_a_priority_queue() -> None:
    """The usual pool of workers around a queue, with `join`, ends and is cancelled cleanly."""

    async def main() -> Any:
        queue, found = asyncio.PriorityQueue[int](), list[int]()

        async def worker() -> None:
            while True:
                found.append(await fetch(await queue.get()))
                queue.task_done()

        for number in (3, 1, 2):
            queue.put_nowait(number)
        workers = [asyncio.create_task(worker()) for _ in range(2)]
        await queue.join()
        for each in workers:
            each.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
        return sorted(found)

    assert results(main) == [[1, 2, 3]]


# --- generators, context managers, context variables ---------------------------------------------


async def numbers(log: list[str], name: str = "g") -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield await fetch(number)
    finally:
        log.append(await step(f"close-{name}", lambda: name))


def test_async_generators() -> None:
    """An async generator may wait for operations, and ends when it is exhausted."""

    async def main() -> Any:
        log: list[str] = []
        return [[each async for each in numbers(log)], log]

    assert results(main) == [[[0, 1, 2], ["g"]]]


def test_generators_that_are_left_are_closed_at_the_end_in_order() -> None:
    """A generator that is not exhausted is closed when the body ends, in order of creation."""
    log: list[str] = []

    async def main() -> Any:
        log.clear()
        for name in ("b", "a", "c"):
            async for _ in numbers(log, name):
                break
        return "done"

    run = Run(main, cold=True).to_the_end()
    assert run.result == "done"
    assert [key for key in run.asked if "close" in key] == ["close-b", "close-a", "close-c"]
    assert log == ["b", "a", "c"]
    run.close()


def test_a_generator_that_fails_while_it_is_closed_changes_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with `asyncio.run`, what goes wrong there is logged, and the result stands."""

    async def bad() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise ValueError("in the generator")

    async def main() -> Any:
        async for _ in bad():
            break
        return 1

    assert results(main) == [1]
    assert "failed while it was closed" in caplog.text


def test_context_managers() -> None:
    """Async context managers may do durable work on the way in and out, once each."""

    @asynccontextmanager
    async def lease(name: str) -> AsyncIterator[str]:
        held = await step(f"take-{name}", lambda: name)
        try:
            yield held
        finally:
            await step(f"give-{name}", lambda: name)

    async def main() -> Any:
        async with lease("a") as a, lease("b") as b:
            return [a, b, await fetch("c")]

    run = Run(main, cold=True).to_the_end()
    assert run.result == ["a", "b", "c"]
    assert run.asked == ["take-a", "take-b", "fetch", "give-b", "give-a"]
    assert set(run.world.called.values()) == {1}
    run.close()


_who = contextvars.ContextVar("who", default="nobody")


def test_context_variables_belong_to_their_branch() -> None:
    """Each branch has its own context, and keeps it over waits."""

    async def main() -> Any:
        async def branch(name: str) -> str:
            _who.set(name)
            await fetch(name)
            await sleep(1)
            return _who.get()

        return [await asyncio.gather(branch("a"), branch("b")), _who.get()]

    assert results(main) == [[["a", "b"], "nobody"]]


def test_the_servers_context_does_not_leak_in() -> None:
    """A body begins in an empty context: what the server has set is not seen, warm or cold."""

    async def main() -> Any:
        before = _who.get()
        await fetch("a")
        return [before, _who.get()]

    token = _who.set("the server")
    try:
        run = Run(main)
        assert run.to_the_end().result == ["nobody", "nobody"]
        run.close()
    finally:
        _who.reset(token)


def test_tasks_that_share_a_context_keep_their_own_keys() -> None:
    """A shared context does not make two branches one: keys come from the task."""

    async def main() -> Any:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await asyncio.gather(
            loop.create_task(two("a"), context=context), loop.create_task(two("b"), context=context)
        )

    assert results(main) == [[["a", "a"], ["b", "b"]]]
    run = Run(main)
    assert run.open == ["two[0]/fetch", "two[1]/fetch"]
    run.close()


# --- sets, names, tasks --------------------------------------------------------------------------


def test_sets_of_tasks_and_gathers_iterate_in_order() -> None:
    """Sets of tasks, futures and gathers iterate in order of creation, live and on replay."""

    async def main() -> Any:
        tasks = [asyncio.create_task(fetch(x), name=x) for x in "abcdefgh"]
        gathers = [asyncio.gather(each) for each in tasks]
        assert list({*reversed(tasks)}) == tasks
        assert list({*reversed(gathers)}) == gathers
        await asyncio.gather(*gathers)
        return "in order"

    assert results(main, limit=20) == ["in order"]


def test_all_tasks() -> None:
    """`asyncio.all_tasks` knows the workflow's own tasks only, in order of creation."""

    async def main() -> Any:
        for x in "abc":
            asyncio.create_task(fetch(x), name=x)  # noqa: RUF006 - the loop keeps it
        await sleep(1)
        others = [each for each in asyncio.all_tasks() if each is not asyncio.current_task()]
        names = [each.get_name() for each in others]
        for each in others:
            each.cancel()
        return names

    other = Run(main)
    run = Run(main, cold=True)
    run.settle("sleep")
    assert run.result == ["a", "b", "c"]
    run.close()
    other.close()


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


# --- exceptions ----------------------------------------------------------------------------------


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


# --- time and chance -----------------------------------------------------------------------------


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


# --- rewake's own --------------------------------------------------------------------------------


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
    """A cancelled `parallel` or `race` leaves no branch behind, even if cancelled twice."""

    async def main() -> Any:
        log: list[str] = []

        async def one(x: str) -> None:
            try:
                await fetch(x)
            finally:
                await sleep(10)
                log.append(x)

        async def all_of_them() -> None:
            await parallel("ab", one)

        running = asyncio.create_task(all_of_them())
        await sleep(1)
        running.cancel()
        await sleep(1)
        running.cancel()
        await asyncio.wait([running])
        return [sorted(log), running.cancelled()]

    run = Run(main)
    run.settle("sleep")
    run.settle("sleep.2")
    assert run.to_the_end().result == [["a", "b"], True]
    run.close()

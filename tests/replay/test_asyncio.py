"""The rest of asyncio: locks, queues, generators, contexts, sets of tasks."""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from rewake import sleep, step
from tests.support.driver import Run
from tests.support.tasks import fetch, results, two


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


def test_a_name_of_the_users_own_is_part_of_the_key() -> None:
    """`create_task(name=)` of asyncio and of a group; a second one of a name is numbered."""

    async def main() -> Any:
        one = asyncio.create_task(fetch(1), name="north")
        other = asyncio.create_task(fetch(2), name="north")
        async with asyncio.TaskGroup() as group:
            group.create_task(two(3), name="a/b")
            group.create_task(fetch(4))
        assert (one.get_name(), other.get_name()) == ("north", "north")
        asyncio.get_running_loop().create_task(fetch(5), name="direct")
        return await one + await other

    run = Run(main, cold=True)
    assert run.open[:3] == ["north[0]/fetch", "north[1]/fetch", "a%2Fb[0]/fetch"]
    assert run.open[3:] == ["fetch[0]/fetch"]
    for key in ("a%2Fb[0]/fetch", "fetch[0]/fetch", "a%2Fb[0]/fetch.2"):
        run.settle(key)
    assert run.open[2:] == ["direct[0]/fetch"]
    run.close()


def test_a_name_of_a_librarys_is_not() -> None:
    """A library names its tasks by an address, say: no replay would find these keys again."""
    library: dict[str, Any] = {"__name__": "library.tasks", "asyncio": asyncio}
    exec("def begin(coro):\n    return asyncio.create_task(coro, name=hex(id(coro)))", library)

    async def main() -> Any:
        task = library["begin"](fetch(1))
        assert task.get_name().startswith("0x")
        return await task

    run = Run(main, cold=True)
    assert run.open == ["fetch[0]/fetch"]
    run.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="new in Python 3.12")
def test_eager_tasks_of_a_factory_begin_in_their_turn() -> None:
    """As a library makes them that asks no loop: they are branches as all are, and outside of a
    workflow they begin at once.
    """
    factory: Any = vars(asyncio)["eager_task_factory"]
    begun: list[str] = []

    async def branch(x: str) -> str:
        begun.append(x)
        found: str = await fetch(x)
        return found

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        begun.clear()
        made = [factory(loop, branch(x)) for x in "ab"]
        assert begun == []
        return await asyncio.gather(*made)

    assert results(main) == [["a", "b"]]

    async def outside() -> list[str]:
        begun.clear()
        made = factory(asyncio.get_running_loop(), branch("c"))
        at_once = [*begun]
        await made
        return at_once

    assert asyncio.run(outside()) == ["c"]

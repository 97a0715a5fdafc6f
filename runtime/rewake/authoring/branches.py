"""Many branches at once: `parallel` over items, and `race` for the first to settle."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, TypeVar, overload

from rewake.replay.execution import current
from rewake.replay.operation import operation

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")


@operation
async def parallel(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    /,
    *,
    concurrency: int | None = None,
) -> list[R]:
    """Call `function` on every item, at most `concurrency` at a time; results in item order.

        pages = await parallel(urls, fetch)
        rows = await parallel(pages, charge_and_ship, concurrency=5)

    A sliding window: the next item starts as soon as any branch ends. A branch may do any number
    of durable operations. The first failure cancels the other branches, waits until their
    cleanup is done, and is raised.

    Raises `ValueError` for a concurrency below 1.
    """
    if concurrency is not None and concurrency < 1:
        raise ValueError("concurrency must be 1 or more")
    return await _Window(list(items), function, concurrency).run()


@overload
async def race(one: Awaitable[A], two: Awaitable[B], /) -> A | B: ...
@overload
async def race(one: Awaitable[A], two: Awaitable[B], three: Awaitable[C], /) -> A | B | C: ...
@overload
async def race(*branches: Awaitable[R]) -> R: ...
@operation
async def race(*branches: Awaitable[Any]) -> Any:
    """Return the result of the first branch to settle, or raise its exception.

        quote = await race(ask("north"), ask("south"))
        answer = await race(wait_for_approval("boss"), wait_for_approval("deputy"))

    The others are cancelled, and have ended when this returns. Of several that have settled,
    the first in the order given wins.

    Raises `ValueError` if there is nothing to wait for.
    """
    if not branches:
        raise ValueError("race() needs at least one awaitable")
    spawn = _spawner("race")
    tasks = [spawn(_coroutine(branch)) for branch in branches]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        winner = next(task for task in tasks if task.done())
        return winner.result()
    finally:
        await _end(tasks)


class _Window(Generic[T, R]):
    """A sliding window of branches over items."""

    def __init__(
        self, items: list[T], function: Callable[[T], Awaitable[R]], size: int | None
    ) -> None:
        self._items = items
        self._function = function
        self._size = size or len(items)
        self._spawn = _spawner("parallel")
        self._tasks: list[asyncio.Task[R]] = []
        self._ended = 0
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_barrier(self) -> bool:
        """Whether a success changes nothing until all branches are done."""
        return len(self._tasks) == len(self._items)

    async def run(self) -> list[R]:
        for _ in range(min(self._size, len(self._items))):
            self._start_next()
        try:
            if self._items:
                await self._over
        finally:
            await _end(self._tasks)
        return [task.result() for task in self._tasks]

    def _start_next(self) -> None:
        number = len(self._tasks)
        task = self._spawn(_call(self._function, self._items[number]))
        self._tasks.append(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[R]) -> None:
        self._ended += 1
        if self._over.done():
            return
        if task.cancelled():
            self._over.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._over.set_exception(error)
        elif len(self._tasks) < len(self._items):
            self._start_next()
        elif self._ended == len(self._items):
            self._over.set_result(None)


async def _end(tasks: list[asyncio.Task[R]]) -> None:
    """Cancel the tasks that are not done, and wait for their cleanup even if cancelled itself."""
    for task in tasks:
        task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while left := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(left)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # seen, or asyncio would log it: only the first is raised
    if cancelled is not None:
        raise cancelled


def _call(function: Callable[[T], Awaitable[R]], item: T) -> Coroutine[Any, Any, R]:
    try:
        return _coroutine(function(item))
    except Exception as error:
        return _raise(error)


def _coroutine(awaitable: Awaitable[R]) -> Coroutine[Any, Any, R]:
    return awaitable if asyncio.iscoroutine(awaitable) else _wait_for(awaitable)


async def _wait_for(awaitable: Awaitable[R]) -> R:
    return await awaitable


async def _raise(error: Exception) -> Any:
    raise error


def _spawner(label: str) -> Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]:
    """A function that starts numbered branches; in a workflow, in the scopes `label[number]`."""
    execution = current()
    if execution is None:
        return asyncio.create_task
    scopes = execution.group(label)
    return lambda coro: execution.spawn(coro, scopes.next())

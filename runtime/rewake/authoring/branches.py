"""Many branches at once: `parallel` over items, and `race` for the first to settle."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, Generic, Literal, TypeVar, overload

from rewake.authoring.outcomes import PLAIN, Completion, Outcome, Outcomes, Reason, check_count
from rewake.replay.asyncio_order import Missing
from rewake.replay.execution import current
from rewake.replay.operation import operation

A = TypeVar("A")
B = TypeVar("B")
C = TypeVar("C")
T = TypeVar("T")
R = TypeVar("R")

Name = str | Callable[[T], str]
"""What branches are called: all of them alike, or each by its item."""


@overload
async def parallel(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    /,
    *,
    concurrency: int | None = None,
    min_successful: None = None,
    tolerate: None = None,
    outcomes: Literal[False] = False,
    name: Name[T] | None = None,
) -> list[R]: ...
@overload
async def parallel(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    /,
    *,
    concurrency: int | None = None,
    min_successful: int | None = None,
    tolerate: float | None = None,
    outcomes: bool = False,
    name: Name[T] | None = None,
) -> Outcomes[R]: ...
@operation
async def parallel(
    items: Iterable[T],
    function: Callable[[T], Awaitable[R]],
    /,
    *,
    concurrency: int | None = None,
    min_successful: int | None = None,
    tolerate: float | None = None,
    outcomes: bool = False,
    name: Name[T] | None = None,
) -> list[R] | Outcomes[R]:
    """Call `function` on every item, at most `concurrency` at a time; results in item order.

        pages = await parallel(urls, fetch)
        done = await parallel(orders, ship, tolerate=0.1, name=lambda order: order.id)

    A sliding window: the next item starts as soon as any branch ends. A branch may do any number
    of durable operations. The first failure cancels the other branches, waits until their
    cleanup is done, and is raised. `name`, a text or a function of the item, is in their keys.

    With a policy the result is an `Outcomes`, and the first failure is raised only once success is
    impossible. `min_successful`: so many successes are enough, the other branches are cancelled.
    `tolerate`: so many may fail, a count (int) or a share of the items (float, 0.0 to 1.0).
    `outcomes=True`: alone, all may. An `Exception` is tolerated, and a branch's cancelling itself.

    Raises `ValueError` for an option out of range, `TypeError` for one of another type (a bool).
    """
    if concurrency is not None:
        check_count("concurrency", concurrency, at_least=1)
    all_of_them = list(items)
    completion = Completion.of(len(all_of_them), min_successful, tolerate, outcomes=outcomes)
    spawn = _spawner("parallel", name, all_of_them)
    window = _Window(all_of_them, function, concurrency, completion or PLAIN, spawn)
    await window.run()
    return window.results() if completion is None else window.outcomes()


Spawner = Callable[[Coroutine[Any, Any, Any]], asyncio.Task[Any]]
"""Starts a branch."""


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
        await end_branches(tasks)


class _Window(Generic[T, R]):
    """A sliding window of branches over items."""

    def __init__(
        self,
        items: list[T],
        function: Callable[[T], Awaitable[R]],
        size: int | None,
        completion: Completion,
        spawn: Spawner,
    ) -> None:
        self._items = items
        self._function = function
        self._size = size or len(items)
        self._completion = completion
        self._spawn = spawn
        self._tasks: list[asyncio.Task[R]] = []
        self._succeeded = self._failed = 0
        self._first: BaseException | None = None
        self._reason: Reason = "completed"
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def missing(self) -> Missing | None:
        """What of its branches changes something, if all have begun (`asyncio_order.Barrier`)."""
        if len(self._tasks) < len(self._items):
            return None
        enough = self._completion.enough
        successes = None if enough is None else enough - self._succeeded
        return Missing(successes, self._completion.bears - self._failed)

    async def run(self) -> None:
        try:
            for _ in range(min(self._size, len(self._items))):
                self._start_next()
            if self._items:
                await self._over
        finally:
            await end_branches(self._tasks)

    def results(self) -> list[R]:
        return [task.result() for task in self._tasks]

    def outcomes(self) -> Outcomes[R]:
        found = [_outcome(index, task) for index, task in enumerate(self._tasks)]
        left = range(len(found), len(self._items))
        found += [Outcome(index, "skipped") for index in left]
        return Outcomes(tuple(found), self._reason, self._first)

    def _start_next(self) -> None:
        number = len(self._tasks)
        task = self._spawn(_call(self._function, self._items[number]))
        self._tasks.append(task)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[R]) -> None:
        if self._over.done():
            return
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None:
            self._succeeded += 1
        else:
            self._failed += 1
            self._first = self._first or error
        ended, enough = self._succeeded + self._failed, self._completion.enough
        if error is not None and not isinstance(error, Exception | asyncio.CancelledError):
            self._over.set_exception(error)  # no failure, but an end of the whole program
        elif self._failed > self._completion.bears:
            assert self._first is not None
            self._over.set_exception(self._first)
        elif ended == len(self._items):
            self._over.set_result(None)
        elif self._succeeded == enough:
            self._reason = "min_successful"
            self._over.set_result(None)
        elif len(self._tasks) < len(self._items):
            self._start_next()


def _outcome(index: int, task: asyncio.Task[R]) -> Outcome[R]:
    """What came of a branch that has ended."""
    if task.cancelled():
        return Outcome(index, "cancelled")
    if (error := task.exception()) is not None:
        return Outcome(index, "failed", error=error)
    return Outcome(index, "ok", task.result())


async def end_branches(tasks: list[asyncio.Task[R]]) -> None:
    """Cancel the tasks that are not done, and wait for their cleanup even if cancelled itself.

    That cancels them once more, as asyncio's `gather` does: what they wait for may never end.
    """
    cancelled: asyncio.CancelledError | None = None
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
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
        made: object = function(item)
        if not inspect.isawaitable(made):
            name, kind = getattr(function, "__qualname__", ""), type(made).__name__
            raise TypeError(f"the function of a parallel is async; {name} gave an object of {kind}")
        return _coroutine(made)
    except Exception as error:
        return _raise(error)


def _coroutine(awaitable: Awaitable[R]) -> Coroutine[Any, Any, R]:
    return awaitable if asyncio.iscoroutine(awaitable) else _wait_for(awaitable)


async def _wait_for(awaitable: Awaitable[R]) -> R:
    return await awaitable


async def _raise(error: Exception) -> Any:
    raise error


def _spawner(label: str, name: Name[T] | None = None, items: list[T] | None = None) -> Spawner:
    """A function that starts numbered branches; in a workflow, in the scopes `label[number]`.

    `name` stands for the label, or makes that of each item.
    """
    names = _names(name, items or [])
    execution = current()
    if execution is None:
        return asyncio.create_task
    if callable(name):
        scope, numbered = execution.scope(), enumerate(names)

        def spawn_next(coro: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
            number, each = next(numbered)
            return execution.spawn(coro, scope.named(each, number))

        return spawn_next
    scopes = execution.group(name or label)
    return lambda coro: execution.spawn(coro, scopes.next())


def _names(name: Name[T] | None, items: list[T]) -> list[str]:
    """The names of the branches; none if they have no names of their own."""
    names = [name(item) for item in items] if callable(name) else [] if name is None else [name]
    for each in names:
        if not isinstance(each, str):
            raise TypeError(f"a branch's name is text, not {each!r}")
        if not each:
            raise ValueError("a branch's name is not empty")
    return names

"""Middleware: code of yours around invocations of a workflow, and attempts at tasks and steps.

    @middleware
    def traced(around: Around) -> Iterator[None]:
        with tracer.start_as_current_span(around.name):
            yield

It is a generator function, sync or async, with one `yield`: what is before it runs before, what is
behind it after, also if the attempt fails, whose exception is then raised at the `yield`.

- **It breaks no run.** An error of its own is logged, and it is left out; what it swallows, raises
  or returns changes nothing of what it is around, and a time-out around its `yield` ends nothing
  but itself. An async one has `PATIENCE` seconds a half.
- **Order.** That of the app's module: the first is outermost.
- **Around a task or a step** it is in the context of the attempt, so context variables that it sets
  are seen by the function, in its thread too. The time-out of the attempt does not count it.
- **Around a workflow** it is outside of the body, which replays: it is told that an invocation
  begins and ends, of which a run has one for each time that it is woken. It sets nothing that a
  body sees, raises nothing in it, and no operation can be asked for in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, TypeVar

from rewake.errors import AppError
from rewake.replay.execution import current

T = TypeVar("T")
log = logging.getLogger("rewake.middleware")

PATIENCE: Final = 5.0
"""Seconds that each half of an async middleware may take."""


class AroundKind(StrEnum):
    """What a middleware is around."""

    WORKFLOW = "workflow"
    TASK = "task"
    STEP = "step"


@dataclass(frozen=True, slots=True)
class Around:
    """What a middleware is around: `name` is that of the workflow, task or step.

    `key`: of the operation; empty for a workflow. `attempt`: its number, from 1; of a workflow, how
    often the run was taken up.
    """

    kind: AroundKind
    run: str
    name: str
    key: str
    attempt: int


Function = Callable[[Around], Iterator[None]] | Callable[[Around], AsyncIterator[None]]


class Middleware:
    """A middleware of an app. Made by `middleware`."""

    def __init__(self, function: Function) -> None:
        self.function = function
        self.name = getattr(function, "__qualname__", "middleware")
        self._is_async = inspect.isasyncgenfunction(function)

    def __repr__(self) -> str:
        return f"<middleware {self.name}>"

    async def enter(self, around: Around) -> Inside | None:
        """Run its first half. None: it failed, and is left out."""
        inside = Inside(self, around)
        return inside if await inside.enter() else None

    async def tried(self, half: Callable[..., Any], *given: object) -> bool:
        """Run a half of it. False: it failed, which is logged."""
        error = given[1] if given else None
        try:
            done = half(*given)
            if self._is_async:
                await done
        except KeyboardInterrupt:
            raise
        except BaseException as raised:
            if raised is not error:
                log.warning("%s failed, and is left out", self, exc_info=raised)
                return False
        return True

    def manager(self, around: Around) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """What runs its two halves."""
        made: Any
        if self._is_async:
            made = contextlib.asynccontextmanager(self.function)(around)  # type: ignore[arg-type]
            return made.__aenter__, made.__aexit__
        made = contextlib.contextmanager(self.function)(around)  # type: ignore[arg-type]
        return made.__enter__, made.__exit__


class Inside:
    """A middleware around one invocation or attempt. It runs in a task of its own.

    So what it does to the task that it runs in, such as a time-out around its `yield`, cannot stop
    what it is around.
    """

    def __init__(self, middleware: Middleware, around: Around) -> None:
        self._middleware = middleware
        self._around = around
        loop = asyncio.get_running_loop()
        self._entered: asyncio.Future[bool] = loop.create_future()
        self._left: asyncio.Future[BaseException | None] = loop.create_future()
        self._task: asyncio.Task[None] | None = None

    async def enter(self) -> bool:
        """Run the first half, and let this task see the context variables that it set."""
        context = contextvars.copy_context()
        self._task = asyncio.create_task(self._run(), context=context)
        try:
            await self._patiently(self._entered, self._task)
        except BaseException:
            self._task.cancel()
            raise
        if not (self._entered.done() and self._entered.result()):
            return False
        for variable, value in context.items():
            if variable.get(_UNSET) is not value:
                variable.set(value)
        return True

    async def leave(self, error: BaseException | None) -> None:
        """Run the second half. What it answers or raises is of no matter."""
        assert self._task is not None
        if not self._left.done():
            self._left.set_result(error)
        await self._patiently(self._task)

    async def _patiently(self, *awaited: asyncio.Future[Any]) -> None:
        """Wait for the first of these, and give the middleware up if that takes too long."""
        assert self._task is not None
        done, _ = await asyncio.wait(awaited, timeout=PATIENCE, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            log.warning("%s takes longer than %g s", self._middleware, PATIENCE)
            self._task.cancel()

    async def _run(self) -> None:
        tried = self._middleware.tried
        enter, leave = self._middleware.manager(self._around)
        entered = await tried(enter)
        if not self._entered.done():
            self._entered.set_result(entered)
        if not entered:
            return
        try:
            error = await asyncio.shield(self._left)
        except asyncio.CancelledError as cancelled:  # by itself: so ends a time-out around `yield`
            error = cancelled
        trace = None if error is None else error.__traceback__
        await tried(leave, None if error is None else type(error), error, trace)


_UNSET: Final = object()


def middleware(function: Function, /) -> Middleware:
    """Make a middleware of a generator function that takes an `Around`: a decorator.

    It belongs to the app in whose module it stands. Raises `AppError` for another function.
    """
    if not (inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)):
        raise AppError(f"@middleware is for generator functions; {function!r} is not one")
    return Middleware(function)


async def within(all_: Sequence[Middleware], around: Around, work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, around which these run. Raises what it raises, and nothing else."""
    assert current() is None  # no durable operation can be asked for here
    begun: list[Inside] = []
    try:
        for each in all_:
            if (entered := await each.enter(around)) is not None:
                begun.append(entered)  # noqa: PERF401 - those before one that fails are left
        result = await work
    except BaseException as error:
        work.close()  # if it was cancelled before it began
        for inside in reversed(begun):
            await inside.leave(error)
        raise
    for inside in reversed(begun):
        await inside.leave(None)
    return result

"""Middleware: code of yours around invocations of a workflow, and attempts at tasks and steps.

    @middleware
    def traced(around: Around) -> Iterator[None]:
        with tracer.start_as_current_span(around.name):
            yield

It is a generator function, sync or async, with one `yield`: what is before it runs before, what is
behind it after, also if the attempt fails, whose exception is then raised at the `yield`.

- **It breaks no run.** An error of its own is logged, and it is left out; what it swallows, raises
  or returns changes nothing of what it is around. An async one has `PATIENCE` seconds a half.
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

    async def enter(self, around: Around) -> Leave | None:
        """Run its first half. None: it failed, and is left out."""
        manager: Any
        if not self._is_async:
            manager = contextlib.contextmanager(self.function)(around)  # type: ignore[arg-type]
            return Leave(self, manager) if await self.tried(manager.__enter__) else None
        manager = contextlib.asynccontextmanager(self.function)(around)  # type: ignore[arg-type]
        return Leave(self, manager) if await self.tried(manager.__aenter__) else None

    async def tried(self, half: Callable[..., Any], *given: object) -> bool:
        """Run a half of it. False: it failed, which is logged."""
        error = given[1] if given else None
        try:
            done = half(*given)
            if self._is_async:
                async with asyncio.timeout(PATIENCE):
                    await done
        except asyncio.CancelledError:
            if error is None or not isinstance(error, asyncio.CancelledError):
                raise
        except (Exception, SystemExit) as raised:
            if raised is not error:
                log.warning("%s failed, and is left out", self, exc_info=raised)
                return False
        return True


@dataclass(frozen=True, slots=True)
class Leave:
    """The second half of a middleware whose first has run."""

    middleware: Middleware
    manager: Any

    async def run(self, error: BaseException | None) -> None:
        """Run it. What it answers or raises is of no matter."""
        leave = getattr(self.manager, "__aexit__", None) or self.manager.__exit__
        trace = None if error is None else error.__traceback__
        await self.middleware.tried(leave, None if error is None else type(error), error, trace)


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
    begun: list[Leave] = []
    try:
        for each in all_:
            if (entered := await each.enter(around)) is not None:
                begun.append(entered)  # noqa: PERF401 - those before one that fails are left
        result = await work
    except BaseException as error:
        work.close()  # if it was cancelled before it began
        for leave in reversed(begun):
            await leave.run(error)
        raise
    for leave in reversed(begun):
        await leave.run(None)
    return result

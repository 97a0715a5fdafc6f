"""Calls of a user's function: one attempt, and outside a run all attempts with their retries.

An async function runs in the event loop of the server; a sync one in a thread, which cannot be
interrupted: after its time-out it is abandoned, and its result is ignored. The time-out begins when
the function does, not while its call waits for a thread.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import random
import threading
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Protocol

from rewake.authoring import context as task_contexts
from rewake.authoring.policy import Policy
from rewake.values.failures import described, failure_of, task_error

Function = Callable[..., Any]


class NotBegun(RuntimeError):
    """No thread could be had for a sync function, so it was not called."""


class Threads(Protocol):
    """Where sync functions are called."""

    async def call(self, function: Callable[[], Any], begun: Callable[[], None]) -> Any:
        """Call `function`, which raises nothing, in a thread; `begun` is told when it begins.

        `begun` is called in the caller's event loop. Raises `NotBegun`.
        """
        ...


class LoopThreads:
    """The threads of the event loop itself (as with `asyncio.to_thread`): for plain Python."""

    async def call(self, function: Callable[[], Any], begun: Callable[[], None]) -> Any:
        """Call `function` in a thread. Raises `NotBegun`."""
        loop = asyncio.get_running_loop()
        given_up = threading.Event()

        def call() -> Any:
            if given_up.is_set():
                return None
            with suppress(RuntimeError):  # the loop is closed: nobody waits
                loop.call_soon_threadsafe(begun)
            return function()

        try:
            future = loop.run_in_executor(None, call)
        except RuntimeError as shortage:  # no thread can be started, or the process ends
            given_up.set()  # the call may be queued all the same, for a thread that is there
            raise NotBegun(str(shortage)) from shortage
        return await future


async def attempt(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    timeout: float | None,
    late: str = "",
    context: task_contexts.TaskContext,
    threads: Threads,
) -> Any:
    """Call the function once and return its result.

    Raises its exception, and `TimeoutError` after `timeout` seconds, with the message `late`.
    """
    task_contexts.enter(context)
    if timeout is None:
        return await _call(function, args, kwargs, threads, _unlimited)
    limit = _Limit(timeout)
    try:
        async with limit.timer:
            try:
                return await _call(function, args, kwargs, threads, limit.begin)
            finally:
                limit.over = True
    except TimeoutError:
        if limit.timer.expired():
            raise TimeoutError(late or f"the attempt took longer than {timeout:g} s") from None
        raise


class _Limit:
    """The time-out of one attempt, from the moment at which its function begins."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self.timer = asyncio.timeout(None)
        self.over = False

    def begin(self) -> None:
        """Let the time run."""
        if not self.over:
            self.timer.reschedule(asyncio.get_running_loop().time() + self._timeout)


def _unlimited() -> None:
    """An attempt without a time-out has begun."""


async def _call(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    threads: Threads,
    begun: Callable[[], None],
) -> Any:
    if is_async(function):
        begun()
        return await function(*args, **kwargs)
    call = functools.partial(contextvars.copy_context().run, _outcome, function, args, kwargs)
    result, error = await threads.call(call, begun)
    if error is not None:
        raise error
    # A lambda around an async function only looks sync.
    return await result if inspect.isawaitable(result) else result


def _outcome(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, BaseException | None]:
    """The result of a call, or its exception as a value: a future refuses some exceptions."""
    try:
        return function(*args, **kwargs), None
    except StopIteration as error:
        # As in PEP 479: inside a coroutine, a StopIteration would look like its end.
        raised = RuntimeError("the function raised StopIteration")
        raised.__cause__ = error
        return None, raised.with_traceback(error.__traceback__)
    except BaseException as error:
        return None, error


def is_async(function: Function) -> bool:
    """Whether calling it makes a coroutine."""
    code = getattr(function, "__code__", None)
    if code is not None and code.co_flags & inspect.CO_COROUTINE:
        return True
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


async def in_place(
    function: Function, args: tuple[Any, ...], kwargs: dict[str, Any], policy: Policy
) -> Any:
    """Call the function outside a run, with its retries. Raises `TaskError`, as in a run."""
    run, key = f"local-{uuid.uuid4()}", getattr(function, "__name__", "function")
    loop = asyncio.get_running_loop()
    began, failed, before = loop.time(), 0, ""
    while True:
        context = task_contexts.TaskContext(run, key, failed + 1, task_contexts.LocalLog())
        elapsed = loop.time() - began
        timeout, late = policy.limit(elapsed), policy.late(elapsed, before)
        try:
            # A task of its own, so that the context of this attempt ends with it.
            return await asyncio.create_task(
                attempt(
                    function,
                    args,
                    kwargs,
                    timeout=timeout,
                    late=late,
                    context=context,
                    threads=LoopThreads(),
                )
            )
        except Exception as error:
            failed, before = failed + 1, described(error)
            elapsed = loop.time() - began
            wait = policy.next(error, failed, elapsed=elapsed, chance=random.random())
            if wait is None:
                raise task_error(failure_of(error, failed)) from error
            await asyncio.sleep(wait)

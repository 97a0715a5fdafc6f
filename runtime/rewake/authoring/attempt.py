"""Calls of a user's function: one attempt, and outside a run all attempts with their retries.

An async function runs in the event loop of the server; a sync one in a thread, which cannot be
interrupted: after its time-out it is abandoned, and its result is ignored. The time-out begins when
the function does, not while its call waits for a thread. An async function is cancelled, and may
clean up; one that goes on all the same, as it swallows the cancellation, is left behind like a
thread, where somebody can do that (`leave`).
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import random
import threading
import types
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, Protocol

from rewake.authoring import context as task_contexts
from rewake.authoring.heartbeat import PATIENCE, Beats, Silence, Silent, fell_silent
from rewake.authoring.policy import Policy
from rewake.encoded import Failure
from rewake.values.failures import described, failure_of, task_error

Function = Callable[..., Any]
_Begun = Callable[[], None]
_Begins = Callable[[_Begun], Awaitable[Any]]
"""A call, which tells when its function begins."""

Leave = Callable[[Exception], None]
"""Goes on without a function that does not end, with this as what came of it."""

MOST_SILENT = 3
"""So many attempts in a row may fall silent outside a run, as in one by default."""


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
    silence: float | None = None,
    context: task_contexts.TaskContext,
    threads: Threads,
    leave: Leave | None = None,
) -> Any:
    """Call the function once and return its result.

    Raises its exception, `TimeoutError` after `timeout` seconds, with the message `late`, and
    `Silent` after `silence` seconds without a heartbeat. `leave` is called with these if the
    function goes on for as long again, and at least `PATIENCE`, after it was cancelled.
    """
    task_contexts.enter(context)
    call = functools.partial(_call, function, args, kwargs, threads)
    beats = context.beats
    try:
        if timeout is None and silence is None:
            return await call(_unlimited)
        left = functools.partial(_left, leave, beats)
        within = functools.partial(_within, call, timeout, late, left)
        if silence is None or beats is None:
            return await within(_unlimited)
        return await _heard(within, beats, silence, left)
    finally:
        if beats is not None:
            beats.over = True


def _left(leave: Leave | None, beats: Beats | None, error: Exception) -> None:
    if leave is not None:
        if beats is not None:
            beats.over = True
        leave(error)


async def _within(
    call: _Begins, timeout: float | None, late: str, left: Leave, begun: _Begun
) -> Any:
    """Make a call that may take so many seconds, from when its function begins."""
    if timeout is None:
        return await call(begun)
    error = TimeoutError(late or f"the attempt took longer than {timeout:g} s")
    limit = _Limit(timeout, begun, functools.partial(left, error))
    try:
        async with limit.timer:
            try:
                return await call(limit.begin)
            finally:
                limit.end()
    except TimeoutError:
        if limit.timer.expired():
            raise error from None
        raise


async def _heard(call: _Begins, beats: Beats, seconds: float, left: Leave) -> Any:
    """Make a call that may be silent for so many seconds, from when its function begins."""
    silence = Silence(beats, seconds, functools.partial(left, Silent(seconds)))
    try:
        async with silence.timer:
            try:
                return await call(silence.begin)
            finally:
                silence.end()
    except TimeoutError:
        if silence.timer.expired():
            raise Silent(seconds) from None
        raise


class _Limit:
    """The time-out of one attempt, from the moment at which its function begins.

    `left`: called if it does not end by it.
    """

    def __init__(self, timeout: float, begun: _Begun, left: Callable[[], None]) -> None:
        self._timeout = timeout
        self._begun = begun
        self._left = left
        self._last: asyncio.TimerHandle | None = None
        self._over = False
        self.timer = asyncio.timeout(None)

    def begin(self) -> None:
        """Let the time run."""
        self._begun()
        if not self._over:
            loop = asyncio.get_running_loop()
            at = loop.time() + self._timeout
            self.timer.reschedule(at)
            self._last = loop.call_at(at, self._wait)

    def _wait(self) -> None:
        # From now on: a process that stood still may come late to all of this.
        loop = asyncio.get_running_loop()
        self._last = loop.call_later(max(self._timeout, PATIENCE), self._left)

    def end(self) -> None:
        """Let no time run any more."""
        self._over = True
        if self._last is not None:
            self._last.cancel()


def _unlimited() -> None:
    """An attempt without a time-out has begun."""


async def _call(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    threads: Threads,
    begun: _Begun,
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
    if type(function) is types.FunctionType and not function.__dict__:
        return False  # nor is it marked as one
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
        getattr(function, "__call__", None)  # noqa: B004 - an object with an async __call__
    )


async def in_place(
    function: Function,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    policy: Policy,
    *,
    beats: bool = False,
) -> Any:
    """Call the function outside a run, with its retries. Raises `TaskError`, as in a run.

    `beats`: it is a task's, which may tell of its progress.
    """
    tries, threads = _Tries(function, policy, beats=beats), LoopThreads()
    while True:
        timeout, late, context = tries.begin()
        silence = policy.silence
        limits: dict[str, Any] = {"timeout": timeout, "late": late, "silence": silence}
        try:
            # A task of its own, so that the context of this attempt ends with it.
            return await asyncio.create_task(
                attempt(function, args, kwargs, **limits, context=context, threads=threads)
            )
        except Exception as error:
            failure, wait = tries.failed(error)
            if wait is None:
                raise task_error(failure) from error
            await asyncio.sleep(wait)


class _Tries:
    """The attempts at one call outside a run."""

    def __init__(self, function: Function, policy: Policy, *, beats: bool) -> None:
        self._run = f"local-{uuid.uuid4()}"
        self._key = getattr(function, "__name__", "function")
        self._policy = policy
        self._time = asyncio.get_running_loop().time
        self._began = self._time()
        context = task_contexts.current_context()
        self._around = None if context is None else context.beats
        self._beats = Beats(b"", self._time, self._around) if beats else None
        self._number = self._lost = self._silent = 0
        self._before = ""

    def begin(self) -> tuple[float | None, str, task_contexts.TaskContext]:
        """How long the next attempt may take, what is said if it takes longer, and its context."""
        if self._beats is not None:
            self._beats = Beats(self._beats.told, self._time, self._around)
        self._number += 1
        log, beats = task_contexts.LocalLog(), self._beats
        context = task_contexts.TaskContext(self._run, self._key, self._number, log, beats=beats)
        elapsed = self._time() - self._began
        late = self._policy.late(elapsed, self._before)
        return self._policy.limit(elapsed), late, context

    def failed(self, error: Exception) -> tuple[Failure, float | None]:
        """Why the attempt failed, and the seconds until the next one, if one may follow."""
        elapsed, chance = self._time() - self._began, random.random()
        self._before = described(error)
        if isinstance(error, Silent):
            further = self._beats is not None and self._beats.further
            self._silent = 1 if further else self._silent + 1
            self._lost += 1
            wait = self._policy.after_silence(
                self._silent, MOST_SILENT, elapsed=elapsed, chance=chance
            )
            return fell_silent(error, self._silent, self._number), wait
        failed = self._number - self._lost
        wait = self._policy.next(error, failed, elapsed=elapsed, chance=chance)
        return failure_of(error, self._number), wait

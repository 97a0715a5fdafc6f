"""The deterministic event loop that a workflow body runs on.

The loop is a queue of ready callbacks and nothing else: no selector, no threads, no clock. Its
time is the recorded clock, which stands still until the next event; `call_later` (and so
`asyncio.sleep`, `asyncio.timeout`, `asyncio.wait(timeout=)`) becomes a durable timer. When the
queue is empty and the main asyncio task is not done, the workflow is blocked: that is a
suspension. Nothing is ever thrown into user code to suspend it, so `except:`, `finally`,
`gather` and `TaskGroup` keep their meaning.

What asyncio leaves to chance, and what is done about it here:

- Sets of asyncio tasks and futures iterate by address. Ours hash by creation order, counted apart
  inside of a block, which a replay may pass over. `gather` makes its future past `create_future`,
  and `as_completed` makes a set of *coroutines*; both are mended in `rewake.replay.asyncio_order`.
- Asyncio tasks may share a context, so each keeps the scope of its branch itself; a context
  variable mirrors it for plain callbacks.
- asyncio keeps weak references to all its tasks of the process in one set, with neither order nor
  owner. This loop keeps strong ones to its own, in creation order, and takes them out of that set
  (where tasks of many runs, hashing alike, would also be in each other's way). From Python 3.14 on
  it is a list in C for each thread, where they do no harm.
- Async generators are finalised whenever the collector finds them. Here they are closed at the
  end of the run, in the order in which they were first iterated.

A dropped instance is *dead*: its coroutines are run to their end, `finally` blocks and all, on
this loop, where by now nothing has an effect. Code that only the collector finds later must not
run at all: by then no loop says that it belongs to a workflow, and it would be plain Python with
real effects.

Relied on, and watched by `tests/replay/test_canaries.py` on every Python minor: `Handle._run`,
`Handle._cancelled`, `events._set_running_loop`, `tasks._swap_current_task` (3.12+),
`tasks._unregister_task`, `Task._log_destroy_pending`.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import contextvars
import itertools
import logging
import sys
import warnings
from asyncio import tasks as asyncio_tasks
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Final, Protocol, TypeAlias

from rewake.errors import ForbiddenInWorkflow, StuckError
from rewake.replay import guard, sync_hooks
from rewake.replay.mistakes import Mistakes
from rewake.replay.naming import name_given
from rewake.replay.origins import Origins, note_failure
from rewake.replay.refusing import Refusing
from rewake.replay.scope import Scope, short_name

log = logging.getLogger("rewake.workflow")

BUSY_LIMIT = 5_000_000
"""Callbacks that may run without the workflow ever blocking, before it counts as a busy loop."""
_SPINS = (
    "the workflow ran {:,} callbacks without waiting for anything: it spins, perhaps in a loop "
    "around asyncio.sleep(0)"
)

_UNWINDING_ATTEMPTS = 100
"""How often a dropped coroutine may wait for something else in yet another `finally` block."""

_scope: contextvars.ContextVar[Scope] = contextvars.ContextVar("rewake_scope")
_swap_current_task = getattr(asyncio_tasks, "_swap_current_task", None)
_ALL_IN_C = sys.version_info >= (3, 14)
_unregister_task = asyncio_tasks._unregister_task
_CoroutineLike = Coroutine[Any, Any, Any]
_Generator: TypeAlias = Any  # an async generator; its type has no `ag_frame`
_NOWHERE: tuple[Any, Any, tuple[Any, Any]] = (None, None, (None, None))


class WorkflowTimer(asyncio.TimerHandle):
    """The timer that `call_at` returns. `op`, for the loop's owner, is the operation behind it."""

    __slots__ = ("op",)

    op: Any


class Owner(Protocol):
    """The owner of a loop (its execution), which makes its timers durable."""

    def arm(self, timer: WorkflowTimer) -> None:
        """Make a timer durable that the workflow set with `call_at`."""

    @property
    def package(self) -> str:
        """The package that the workflow is in."""

    @property
    def mistakes(self) -> Mistakes:
        """What the workflow did wrong."""

    @property
    def origins(self) -> Origins:
        """Where its errors came from."""

    def disarm(self, timer: WorkflowTimer) -> None:
        """Withdraw a timer that `arm` was given and the workflow cancelled."""


class WorkflowFuture(asyncio.Future[Any]):
    """A future of a workflow loop: hashes by creation order, so that sets iterate alike."""

    __slots__ = ("_serial",)

    def __init__(self, *, loop: WorkflowLoop, scope: Scope | None = None) -> None:
        self._serial = loop.next_serial(scope)
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._serial


class WorkflowTask(asyncio.Task[Any]):
    """An asyncio task of a workflow: one branch, with a scope of its own."""

    __slots__ = ("_serial", "is_awaited", "scope")

    def __init__(
        self,
        coro: _CoroutineLike,
        *,
        loop: WorkflowLoop,
        name: str,
        context: contextvars.Context,
        scope: Scope,
    ) -> None:
        self._serial = loop.next_serial(scope)
        self.scope = scope
        self.is_awaited = False
        """Whether anybody ever waited for it."""
        super().__init__(coro, loop=loop, name=name, context=context)
        super().add_done_callback(note_failure, context=context)
        if not _ALL_IN_C:
            _unregister_task(self)

    def add_done_callback(self, *args: Any, **context: Any) -> None:
        self.is_awaited = True
        super().add_done_callback(*args, **context)

    def __hash__(self) -> int:
        return self._serial


class WorkflowLoop(Refusing):  # type: ignore[misc]
    """The event loop of one instance. Enter it using `with`, then call `run_until_idle`.

    `clock` is the recorded clock in milliseconds; `halted` stops the loop where it is, for good;
    `dead` says that nothing the workflow still does has an effect.
    """

    def __init__(self, owner: Owner) -> None:
        guard.install(WorkflowLoop)
        sync_hooks.install(WorkflowLoop)
        self.owner: Final = owner
        self.clock = 0
        self.dead = False
        self.halted = False
        self.root = Scope()
        self._ready: list[asyncio.Handle] = []  # an empty deque would take much more room
        self._serials = itertools.count(1)
        self._tasks: list[WorkflowTask] = []
        self._prune_tasks_at = 64
        self._generators: list[_Generator] = []
        self._prune_generators_at = 64
        self._outside = _NOWHERE

    # --- running ---------------------------------------------------------------------------

    def run_until_idle(self) -> None:
        """Run callbacks until none is ready, or it is halted. Raises `StuckError` if it spins."""
        left = BUSY_LIMIT
        while self._ready:
            if left <= 0:
                raise StuckError(_SPINS.format(BUSY_LIMIT))
            ready, self._ready = self._ready, []
            left -= len(ready)
            for handle in ready:
                if self.halted:
                    return
                try:
                    if not handle._cancelled:
                        handle._run()
                except SystemExit:
                    continue  # The asyncio task keeps it: the run fails with it, the server stays.

    def __enter__(self) -> None:
        """Become the thread's running loop, inside another one or without any."""
        outer = asyncio._get_running_loop()
        suspended = None
        if _swap_current_task is not None and outer is not None:
            suspended = _swap_current_task(outer, None)
        self._outside = (outer, suspended, sys.get_asyncgen_hooks())
        asyncio.events._set_running_loop(self)
        sys.set_asyncgen_hooks(self._generator_started, _let_go)

    def __exit__(self, *exception: object) -> None:
        outer, suspended, hooks = self._outside
        self._outside = _NOWHERE
        sys.set_asyncgen_hooks(*hooks)
        asyncio.events._set_running_loop(outer)
        if _swap_current_task is not None and outer is not None:
            _swap_current_task(outer, suspended)

    def drop(self) -> None:
        """End the workflow's coroutines, without any effect.

        They are run to the end, `finally` blocks and all; by now the loop is dead, so nothing that
        they ask for happens. A coroutine that swallows every exception is kept, and never ends.
        """
        self.dead = True
        _living.discard(self)
        self._ready.clear()
        if self.unfinished():
            # A coroutine that a body holds and has not awaited yet is no mistake of the user's.
            with warnings.catch_warnings(), self:
                warnings.simplefilter("ignore", RuntimeWarning)
                self._unwind()
        self._tasks.clear()
        self._generators.clear()

    def _unwind(self) -> None:
        for task in self.unfinished():
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            coro = task.get_coro()
            if not _unwound(coro):
                _graveyard.append(coro)
                log.warning("a dropped workflow swallows every exception: %s", task.get_name())

    # --- what asyncio calls ----------------------------------------------------------------

    def time(self) -> float:
        """The recorded clock, in seconds since the Unix epoch."""
        return self.clock / 1000

    def call_soon(
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if callback is note_failure:  # nothing may see the error before
            note_failure(*args)
        elif not self.dead:
            self._ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        timer = WorkflowTimer(when, callback, args, self, context)
        timer.op = None
        if self.dead:
            return timer
        if when <= self.time():
            self._ready.append(timer)
        else:
            self.owner.arm(timer)
        return timer

    def resume(self, timer: WorkflowTimer) -> None:
        """Make a timer's callback ready."""
        self._ready.append(timer)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not self.dead and isinstance(handle, WorkflowTimer):
            self.owner.disarm(handle)

    def next_serial(self, scope: Scope | None = None) -> int:
        """Number a future or an asyncio task of a scope, by default of that which is running."""
        if scope is None:
            branch = asyncio.current_task(self)
            scope = branch.scope if isinstance(branch, WorkflowTask) else _scope.get(self.root)
        serials: Iterator[int] = self._serials if scope.inside is None else scope.inside.serials
        return next(serials)

    def create_future(self) -> WorkflowFuture:
        return WorkflowFuture(loop=self)

    def create_task(
        self,
        coro: _CoroutineLike,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
        eager_start: bool | None = None,
    ) -> WorkflowTask:
        if eager_start:
            coro.close()
            raise ForbiddenInWorkflow(
                "a workflow body cannot use eager tasks: their branches would begin out of order. "
                "Leave eager_start out; to do work elsewhere, use a @task or a step()."
            )
        given = name_given(name, sys._getframe(1), self.owner.package)
        scope = self.current_scope().branch(given or short_name(getattr(coro, "__name__", "")))
        return self.spawn(coro, scope, name=name, context=context)

    def spawn(
        self,
        coro: _CoroutineLike,
        scope: Scope,
        *,
        name: str | None = None,
        context: contextvars.Context | None = None,
    ) -> WorkflowTask:
        """Start an asyncio task in the given scope."""
        if self.dead:
            coro.close()
        if context is None:
            context = contextvars.copy_context()
            context.run(_scope.set, scope)
        task = WorkflowTask(
            coro, loop=self, name=name or scope.path[:-1], context=context, scope=scope
        )
        if self.dead:
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        else:
            self._remember(task)
        if scope.inside is not None:
            scope.inside.branches.append(task)
        return task

    def current_branch(self) -> WorkflowTask | None:
        """The branch that is running; None in a plain callback, such as one of `call_soon`."""
        task = asyncio.current_task(self)
        if task is None or isinstance(task, WorkflowTask):
            return task
        raise ForbiddenInWorkflow(
            "a workflow body cannot make asyncio.Task objects itself, for they have no place in "
            "its history: use asyncio.create_task(), or a @task or step() for what is not awaited"
        )

    def current_scope(self) -> Scope:
        """The scope of the branch that is running."""
        branch = self.current_branch()
        return branch.scope if branch is not None else _scope.get(self.root)

    async def wind_up(self, main: WorkflowTask | None) -> None:
        """End the asyncio tasks, but `main`, and generators left open, in creation order."""
        if self.dead:
            return
        left = [task for task in self.unfinished() if task is not main]
        await self.end(left, self.open_generators)

    async def end(
        self, branches: list[WorkflowTask], generators: Callable[[], list[_Generator]]
    ) -> None:
        """End asyncio tasks, and the generators that are still open then, each in its order."""
        for task in branches:
            task.cancel()
        for task in branches:
            await asyncio.wait([task])
        for generator in generators():
            try:
                await generator.aclose()
            except Exception as error:
                message = "an async generator failed while it was closed"
                self.call_exception_handler({"message": message, "exception": error})

    def unfinished(self) -> list[WorkflowTask]:
        """The asyncio tasks that are not done, in creation order."""
        return [task for task in self._tasks if not task.done()]

    def open_generators(self) -> list[_Generator]:
        """Take the async generators that were begun and not ended, in the order begun."""
        still_open = [each for each in self._generators if each.ag_frame is not None]
        self._generators.clear()
        return still_open

    def _remember(self, task: WorkflowTask) -> None:
        if not self._tasks:
            _living.add(self)
        self._tasks.append(task)
        if len(self._tasks) > self._prune_tasks_at:
            self._tasks = self.unfinished()
            self._prune_tasks_at = 2 * len(self._tasks) + 64

    def _generator_started(self, generator: _Generator) -> None:
        inside = self.current_scope().inside
        if inside is not None:
            inside.generators.append(generator)
            return
        self._generators.append(generator)
        if len(self._generators) > self._prune_generators_at:
            self._generators = [g for g in self._generators if g.ag_frame is not None]
            self._prune_generators_at = 2 * len(self._generators) + 64

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        """Ignored: asyncio's debug mode reads the wall clock."""

    def get_exception_handler(self) -> None:
        return None

    get_task_factory = get_exception_handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Log an exception (no cancellation) that nobody awaited, or one in a plain callback."""
        error = context.get("exception")
        if not self.dead and not isinstance(error, asyncio.CancelledError):
            log.error("in a workflow: %s", context.get("message"), exc_info=error)

    default_exception_handler = call_exception_handler


_living: set[WorkflowLoop] = set()
"""Loops that have begun and not been dropped, which keeps the garbage collector from them."""

_graveyard: list[object] = []
"""Coroutines that cannot be ended, kept because the collector would run their code again."""


def _let_go(_: _Generator) -> None:
    """Finalise an async generator by doing nothing: its `finally` blocks do not run.

    A loop keeps its generators until the run ends, so this one belongs to a dropped instance.
    """


class _Dropped(BaseException):
    """Thrown into the coroutines of a dropped instance, to run them to their end.

    `close()` is not enough: it reaches inner coroutines one by one, so that one of them whose
    `finally` block waits stays suspended, and the collector would run it later and anywhere.
    """


def _unwound(coro: Any) -> bool:
    """Run a coroutine to its end; False if no exception ends it."""
    for _ in range(_UNWINDING_ATTEMPTS):
        try:
            coro.throw(_Dropped())
        except BaseException:
            return True
    return False

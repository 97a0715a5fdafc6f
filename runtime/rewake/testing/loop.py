"""An event loop in virtual time that runs several processes, and lets any of them die.

Nothing here waits: when no callback is ready, time jumps to the next timer (`jump`). Everything
that a process does runs in a context that names it (`OWNER`), so a process that dies is cut off
where it stands: none of its callbacks, timers or coroutines ever takes another step. A thread of a
process is an owner of its own, so that either may stand still alone. Tasks and futures hash by
creation order, so that sets of them iterate alike in every process of this machine.

What a thread would do is done at once, outside of any loop, as in a thread.
"""

from __future__ import annotations

import asyncio
import asyncio.events
import contextvars
import heapq
import sys
import warnings
from asyncio import tasks as asyncio_tasks
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol


class Owner(Protocol):
    """Who runs a callback. Those of a dead owner never run."""

    @property
    def dead(self) -> bool: ...

    @property
    def paused_until(self) -> float: ...

    @property
    def home(self) -> contextvars.Context: ...


OWNER: contextvars.ContextVar[Owner | None] = contextvars.ContextVar("owner", default=None)
BACKGROUND: contextvars.ContextVar[bool] = contextvars.ContextVar("background", default=False)
"""Whether a timer that is armed here is for upkeep, for which time need not stop."""

_swap_current_task = getattr(asyncio_tasks, "_swap_current_task", None)


class Deadlock(Exception):
    """Nothing is ready and no timer is armed: whoever waits would wait for ever."""


class Spinning(Exception):
    """Something goes on and on, and time stands still."""


ROUNDS = 50_000
"""Rounds of the loop at one moment that count as spinning."""


class VirtualHandle(asyncio.Handle):
    """A callback of a process: while that is paused, it waits, in turn."""

    def _run(self) -> None:
        loop: VirtualLoop = self._loop  # type: ignore[attr-defined]
        if not loop.holds_back(self):
            super()._run()


class VirtualTimerHandle(asyncio.TimerHandle):
    """The same of a timer."""

    def _run(self) -> None:
        loop: VirtualLoop = self._loop  # type: ignore[attr-defined]
        if not loop.holds_back(self):
            super()._run()


class VirtualTask(asyncio.Task[Any]):
    """An asyncio task that hashes by creation order."""

    def __init__(
        self, coro: Any, *, loop: VirtualLoop, context: contextvars.Context | None
    ) -> None:
        self.serial = loop.next_serial()
        super().__init__(coro, loop=loop, name=f"task-{self.serial}", context=context)

    def __hash__(self) -> int:
        return self.serial


class VirtualFuture(asyncio.Future[Any]):
    """A future that hashes by creation order."""

    def __init__(self, loop: VirtualLoop) -> None:
        self.serial = loop.next_serial()
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self.serial


class _Selector:
    """Where a real loop would wait for sockets, this one moves its clock."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._rounds = 0

    def select(self, timeout: float | None) -> list[Any]:
        if timeout == 0:
            self._rounds += 1
            if self._rounds > ROUNDS:
                raise Spinning
            return []
        self._rounds = 0
        self._loop.idle(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """See the module. `seconds` is the virtual time; `errors` what nobody caught."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        self.seconds = 0.0
        self.errors: list[str] = []
        self._serial = 0
        self._held_back = 0
        self._made: list[VirtualTask] = []
        self._many = 4096
        self._upkeep: list[asyncio.TimerHandle] = []
        self._selector = _Selector(self)
        super().__init__()
        self._clock_resolution = 1e-6
        self.set_exception_handler(self._note_error)

    def _note_error(self, _: Any, context: dict[str, Any]) -> None:
        self.errors.append(f"{context.get('message')}: {context.get('exception')!r}")

    def next_serial(self) -> int:
        """The next number in creation order."""
        self._serial += 1
        return self._serial

    def time(self) -> float:
        return self.seconds

    def create_task(  # type: ignore[override]
        self,
        coro: Coroutine[Any, Any, Any],
        *,
        context: contextvars.Context | None = None,
        **_: Any,
    ) -> VirtualTask:
        task = VirtualTask(coro, loop=self, context=context)
        self._made.append(task)
        if len(self._made) > self._many:
            self._made = [each for each in self._made if not each.done()]
            self._many = max(4096, 2 * len(self._made))
        return task

    def create_future(self) -> VirtualFuture:
        return VirtualFuture(self)

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = VirtualHandle(callback, args, self, context)
        if _is_dead(handle):
            handle.cancel()
        else:
            self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = VirtualTimerHandle(when, callback, args, self, context)
        if handle._context.get(BACKGROUND):  # type: ignore[attr-defined]
            self._upkeep.append(handle)
            return handle
        heapq.heappush(self._scheduled, handle)
        handle._scheduled = True  # type: ignore[attr-defined]
        return handle

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in this loop within the block, without running it."""
        if asyncio._get_running_loop() is self:
            yield
            return
        with outside():
            asyncio.events._set_running_loop(self)
            try:
                yield
            finally:
                asyncio.events._set_running_loop(None)

    def idle(self, timeout: float | None) -> None:
        """Do what is to be done when nothing is ready: `timeout` seconds are left to a timer."""
        if timeout is None:
            raise Deadlock
        self.seconds += timeout

    @property
    def next_timer(self) -> float | None:
        """When the first timer is due that is not for upkeep; None: there is none."""
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
        return self._scheduled[0].when() if self._scheduled else None

    @property
    def next_upkeep(self) -> float | None:
        """When the first timer is due that is for upkeep; None: there is none."""
        return min((e.when() for e in self._upkeep if not e.cancelled()), default=None)

    def jump(self, when: float) -> None:
        """Let it be that time. What was due for upkeep meanwhile is done now, once."""
        self.seconds = max(self.seconds, when)
        due = [each for each in self._upkeep if each.when() <= self.seconds]
        self._upkeep = [e for e in self._upkeep if e.when() > self.seconds and not e.cancelled()]
        due.sort(key=lambda each: each.when())
        self._ready.extend(due)

    def holds_back(self, handle: asyncio.Handle) -> bool:
        """Whether this is not to run now: its process is paused (then it runs later), or over."""
        if handle.cancelled() or _is_dead(handle):
            return True
        owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
        if owner is None or owner.paused_until <= self.seconds:
            return False
        # A little later each, so that they keep their order. In no process's own context, which
        # the callback enters when it runs.
        self._held_back += 1
        when = owner.paused_until + self._held_back * 1e-9
        self.call_at(when, handle._run, context=contextvars.Context())
        return True

    def call_soon_threadsafe(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        owner = OWNER.get()
        if context is None and owner is not None:
            context = owner.home.copy()  # of the process that owns the thread
        return self.call_soon(callback, *args, context=context)

    def run_in_executor(  # type: ignore[override]
        self, _: Any, func: Callable[..., Any], *args: Any
    ) -> VirtualFuture:
        """A thread's work, done in one step a moment later."""
        future = self.create_future()
        self.call_soon(_run_now, future, func, args)
        return future

    def cut_off(self) -> None:
        """Let nothing of a dead owner run: what is ready, and what is armed."""
        for handle in [*self._ready, *self._scheduled, *self._upkeep]:
            if _is_dead(handle):
                handle.cancel()

    def close(self) -> None:
        """End every coroutine that was cut off, so that the collector finds nothing to say."""
        # What one of them had made and not awaited yet, as its process died, is no mistake of its.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            for task in self._made:
                if not task.done():
                    task._log_destroy_pending = False  # type: ignore[attr-defined]
                    with suppress(BaseException):
                        task.get_coro().close()
            self._made.clear()
        self._ready.clear()
        self._scheduled.clear()
        self._upkeep.clear()
        super().close()

    def _process_events(self, event_list: Any) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """There is nobody to wake."""


def _is_dead(handle: asyncio.Handle) -> bool:
    owner = handle._context.get(OWNER)  # type: ignore[attr-defined]
    return owner is not None and owner.dead


def _run_now(future: VirtualFuture, func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    if future.cancelled():
        return
    try:
        with outside():
            result = func(*args)
    except BaseException as error:
        future.set_exception(error)
    else:
        future.set_result(result)


@contextmanager
def outside() -> Iterator[None]:
    """Be in no event loop within the block, as a thread of its own is."""
    outer, hooks = asyncio._get_running_loop(), sys.get_asyncgen_hooks()
    if outer is None:
        yield
        return
    suspended = None if _swap_current_task is None else _swap_current_task(outer, None)
    asyncio.events._set_running_loop(None)
    try:
        yield
    finally:
        sys.set_asyncgen_hooks(*hooks)
        asyncio.events._set_running_loop(outer)
        if _swap_current_task is not None:
            _swap_current_task(outer, suspended)


async def for_ever() -> Any:
    """Never return: how a call of a process that died looks to it."""
    await asyncio.get_running_loop().create_future()

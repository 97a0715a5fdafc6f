"""Threads for sync functions: a pool that lasts, although no thread can be interrupted.

Tasks have one pool and steps another, so that neither waits for the other. A call whose time-out
is over, or that is cancelled, is *abandoned*: its thread goes on, and nothing of it counts. Such a
thread is replaced at once, so it takes the place of no other call; it is counted, and told of once.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import Any

from rewake.authoring.attempt import LoopThreads, NotBegun, Threads
from rewake.authoring.context import TaskContext, current_context

log = logging.getLogger("rewake.engine")

NAMES = ("rewake-task", "rewake-step")
"""What the names of the threads begin with."""


class _Call:
    """One call. `queued`: it had to wait for a thread."""

    __slots__ = ("begun", "context", "function", "future", "loop", "queued")

    def __init__(self, function: Callable[[], Any], begun: Callable[[], None]) -> None:
        self.function = function
        self.begun = begun
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.context: TaskContext | None = current_context()
        self.queued = False

    def home(self, callback: Callable[..., object], *args: object) -> None:
        """Call something in the caller's event loop, unless that is closed: nobody waits then."""
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(callback, *args)

    def answer(self, result: Any) -> None:
        """Give the caller the result, in its event loop."""
        if not self.future.done():
            self.future.set_result(result)

    def refuse(self, error: Exception) -> None:
        """Tell the caller that the function was not called, in its event loop."""
        if not self.future.done():
            self.future.set_exception(error)


class ThreadPool:
    """Up to `size` calls at once, without those that were abandoned. The others wait in turn."""

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._lock = threading.Lock()
        self._count = itertools.count(1)
        self._idle: list[SimpleQueue[_Call | None]] = []
        self._busy: set[_Call] = set()
        self._waiting: deque[_Call] = deque()
        self._abandoned: set[_Call] = set()
        self._closed = False
        self._pid = os.getpid()

    @property
    def abandoned(self) -> int:
        """How many threads still run a call that was abandoned."""
        return len(self._abandoned)

    async def call(self, function: Callable[[], Any], begun: Callable[[], None]) -> Any:
        """Call `function`, which raises nothing, in a thread; `begun` is told when it begins.

        A cancellation abandons the call. Raises `NotBegun`.
        """
        call = _Call(function, begun)
        self._submit(call)
        try:
            return await call.future
        except asyncio.CancelledError:
            self._give_up(call)
            raise

    def close(self) -> None:
        """Let idle threads end, and begin no further call."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()

    def _submit(self, call: _Call) -> None:
        with self._lock:
            if self._closed:
                raise NotBegun("the process ends")
            if len(self._busy) >= self._size:
                call.queued = True
                self._waiting.append(call)
                return
            try:
                self._begin(call)
            except RuntimeError as shortage:
                raise NotBegun(str(shortage)) from shortage
        call.begun()

    def _begin(self, call: _Call) -> None:
        """Give the call to a thread, under the lock. Raises `RuntimeError` if none can start."""
        if self._idle:
            inbox = self._idle.pop()
        else:
            inbox = SimpleQueue()
            name = f"{self._name}-{next(self._count)}"
            # A daemon: an abandoned one must not keep the interpreter from ending.
            threading.Thread(target=self._serve, args=(inbox,), name=name, daemon=True).start()
        self._busy.add(call)
        inbox.put(call)

    def _give_up(self, call: _Call) -> None:
        with self._lock:
            if call in self._waiting:
                self._waiting.remove(call)
            if call not in self._busy:
                return  # it was not begun, or it has just ended
            self._busy.remove(call)
            self._abandoned.add(call)
            while self._waiting and len(self._busy) < self._size:
                following = self._waiting.popleft()
                try:
                    self._begin(following)
                except RuntimeError as shortage:
                    following.home(following.refuse, NotBegun(str(shortage)))
        told = (
            "%s is over, but its thread goes on: nothing can interrupt it (abandoned threads: %d)"
        )
        log.warning(told, _described(call), self.abandoned)

    # --- in a thread -----------------------------------------------------------------------

    def _serve(self, inbox: SimpleQueue[_Call | None]) -> None:
        while self._serve_one(inbox):
            pass

    def _serve_one(self, inbox: SimpleQueue[_Call | None]) -> bool:
        # A method of its own, so that an idle thread keeps no former call in memory.
        call = inbox.get()
        if call is None:
            return False
        if call.queued:
            call.home(call.begun)
        result = call.function()
        if os.getpid() != self._pid:
            os._exit(1)  # a child that the function forked must not go on as the server
        call.home(call.answer, result)
        return self._is_kept(call, inbox)

    def _is_kept(self, ended: _Call, inbox: SimpleQueue[_Call | None]) -> bool:
        """Whether the thread goes on: with the next call, or idle until there is one."""
        with self._lock:
            self._busy.discard(ended)
            was_abandoned = ended in self._abandoned
            self._abandoned.discard(ended)
            left = self.abandoned
            kept = not self._closed and len(self._busy) + len(self._idle) < self._size
            if kept and self._waiting:
                following = self._waiting.popleft()
                self._busy.add(following)
                inbox.put(following)
            elif kept:
                self._idle.append(inbox)
        if was_abandoned:
            log.info("the abandoned thread of %s has ended (left: %d)", _described(ended), left)
        return kept


class ThreadPools:
    """The threads of one engine. `own=False`: those of its event loop, which may be virtual."""

    def __init__(self, size: int, *, own: bool) -> None:
        self._pools = [ThreadPool(size, name) for name in NAMES] if own else []
        self.tasks, self.steps = _pair(self._pools)

    @property
    def abandoned(self) -> int:
        """How many threads still run a sync function whose attempt is over."""
        return sum(pool.abandoned for pool in self._pools)

    def close(self) -> None:
        """Begin no further call."""
        for pool in self._pools:
            pool.close()


def _pair(pools: Sequence[Threads]) -> tuple[Threads, Threads]:
    tasks, steps = pools or (LoopThreads(), LoopThreads())
    return tasks, steps


def _described(call: _Call) -> str:
    context = call.context
    if context is None:
        return "a sync function"
    return f"attempt {context.attempt} at {context.key} of run {context.run}"

"""The asyncio task of one attempt, which can be stopped from outside."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from rewake.engine.process.work import CLEANUP
from rewake.errors import NonRetryable

log = logging.getLogger("rewake.engine")


class Body:
    """The asyncio task of one attempt, which can be stopped."""

    def __init__(self) -> None:
        self._task: asyncio.Task[tuple[Any, BaseException | None]] | None = None
        self._over: asyncio.Future[None] | None = None
        self._left: Exception | None = None
        self._stopped = False

    def stop(self) -> None:
        """Stop the attempt: its task was taken over or cancelled, so nothing of it counts."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    def leave(self, error: Exception) -> None:
        """Go on without an attempt that was cancelled and does not end. `run` raises `error`."""
        if self._over is not None and not self._over.done():
            self._left = error
            self._over.set_result(None)

    def check(self) -> None:
        """Raise `Stopped` if the attempt was stopped before it began."""
        if self._stopped:
            raise Stopped

    async def run(self, work: Coroutine[Any, Any, Any], context: Context) -> Any:
        """Run `work` in a context. Returns its result, raises its exception, or `Stopped`."""
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._over, never_began = over, partial(_tell, over)
        settled = _settled(work, over, never_began)
        self._task = task = asyncio.get_running_loop().create_task(settled, context=context)
        # One that is cancelled before its first step, by whomever, does not come to say so itself.
        task.add_done_callback(never_began)
        try:
            await over  # and not the task, which this would cancel, and then wait for
        except asyncio.CancelledError:
            task.cancel()
            await asyncio.wait({task}, timeout=CLEANUP)
            if not task.done():
                log.warning("an attempt goes on after it was cancelled: nothing of it counts")
            raise
        if self._left is not None:
            log.warning("an attempt goes on after it was cancelled: nothing of it counts")
            raise self._left
        if task.cancelled():
            work.close()  # which may not have begun
            # Not by us: it cancelled itself, or a library left a cancellation behind.
            raise Stopped if self._stopped else NonRetryable("the task cancelled itself")
        result, error = task.result()
        if error is not None:
            raise error
        return result


class Stopped(Exception):
    """The attempt was stopped: nothing of it counts."""


def _tell(over: asyncio.Future[None], _: object = None) -> None:
    if not over.done():
        over.set_result(None)


async def _settled(
    body: Awaitable[Any], over: asyncio.Future[None], never_began: Callable[[object], None]
) -> tuple[Any, BaseException | None]:
    """Await `body`, with its exception as a value: asyncio lets some of them stop the loop.

    As `over` is told here, who waits for it goes on in the very next round of the loop.
    """
    if (task := asyncio.current_task()) is not None:
        task.remove_done_callback(never_began)
    try:
        return await body, None
    except asyncio.CancelledError as error:
        if task is not None and task.cancelling():
            raise
        return None, NonRetryable(f"the task cancelled itself: {error}")
    except BaseException as error:
        return None, error
    finally:
        _tell(over)

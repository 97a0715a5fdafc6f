"""Sync functions that agent frameworks are handed: called in place, not in a thread.

An agent has sync tools and instructions, a graph sync nodes. Their frameworks call these in
threads, so that none blocks the event loop. A workflow has no threads, and nothing else to do
meanwhile, so such a function is called in place, in the order of the program, as if the body called
it: what it may not do there is refused. It is a hook of the user's, named by no library.

That goes for frameworks which call in threads what their users hand them, and nothing else. What
other libraries call there is I/O of their own: over a connection that is open already nobody would
notice it, so they are refused their threads as a body is.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from rewake.replay import guard

FRAMEWORKS: Final = frozenset({"agents", "langgraph", "pydantic_ai"})
_BETWEEN: Final = ("anyio.", "asyncio.", "langchain_core.runnables.", "rewake.replay.")
"""The modules that stand between a framework and its thread."""
_ALONE: Final = "langchain_core.runnables."
"""Whose function langgraph makes an asyncio task of, with nothing around it."""


def in_place(
    loop: Any, frame: FrameType, _executor: object, function: Callable[..., Any], *args: Any
) -> asyncio.Future[Any] | None:
    """What the function came to, if a framework asks for a thread from this frame; else None."""
    if not _asks(frame):
        return None
    future: asyncio.Future[Any] = loop.create_future()
    try:
        future.set_result(function(*args))
    except Exception as error:
        future.set_exception(error)
    return future


def _asks(frame: FrameType) -> bool:
    between = []
    for each in guard.frames_of_the_workflow(frame):
        name = f"{guard.module_of(each)}."
        if not name.startswith(_BETWEEN):
            known = name.partition(".")[0] in FRAMEWORKS
            return known and guard.is_installed(each.f_code.co_filename)
        between.append(name)
    return any(name.startswith(_ALONE) for name in between)


@functools.cache
def install(guarded: type[asyncio.AbstractEventLoop]) -> None:
    """Let anyio, by which pydantic-ai has its threads, ask the loop wherever a `guarded` one runs.

    Whether it is done does not depend on what the process has imported by now.
    """
    if importlib.util.find_spec("pydantic_ai") is None:
        return
    from anyio._backends._asyncio import AsyncIOBackend  # noqa: PLC0415 - it takes long

    backend: Any = AsyncIOBackend
    in_a_thread = backend.run_sync_in_worker_thread.__func__

    async def run_sync_in_worker_thread(
        cls: Any, func: Callable[..., Any], args: tuple[Any, ...], *how: Any, **named: Any
    ) -> Any:
        loop = asyncio._get_running_loop()
        if isinstance(loop, guarded):
            future = in_place(loop, sys._getframe(), None, func, *args)
            if future is not None:
                return await future
        return await in_a_thread(cls, func, args, *how, **named)

    backend.run_sync_in_worker_thread = classmethod(run_sync_in_worker_thread)

"""Who blocks an event loop, and where: read from another thread, off the stack of the loop's own.

The code that runs belongs to a workflow's body if the replay core is on the stack, and otherwise to
the attempt that its asyncio task was begun for: children of an attempt inherit its context.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType
from typing import Any

from rewake.authoring.context import TaskContext, context_in
from rewake.replay.execution import Execution
from rewake.replay.guard import is_installed

_CORE = "rewake.replay.execution"
_BODY = "rewake.replay.loop"
_LOOPS = frozenset({"asyncio.base_events", "asyncio.events", "asyncio.runners"})
_DEBUGGERS = frozenset(
    {
        "bdb",
        "pdb",
        "IPython",
        "_pydev_bundle",
        "_pydevd_bundle",
        "debugpy",
        "ipdb",
        "pudb",
        "pydevd",
    }
)


@dataclass(frozen=True, slots=True)
class Block:
    """What a loop is busy with. `run` is empty where it is no run's; `key` where it is a body.

    `frame` is the outermost one of what the loop has called; `kind` is what `key` is the key of.
    """

    run: str
    key: str
    place: str
    frame: object
    kind: str = "task"

    @property
    def culprit(self) -> tuple[str, str]:
        """Whose code it is."""
        return self.run, self.key

    def is_same_as(self, other: Block) -> bool:
        """Whether the loop is still busy with the same, wherever that stands by now."""
        if self.culprit != other.culprit:
            return False
        return bool(self.run) or (self.frame is not None and self.frame is other.frame)

    def __str__(self) -> str:
        if not self.run:
            return f"code of no run, at {self.place}"
        part = f"{self.kind} {self.key}" if self.key else "the body"
        return f"{part} of run {self.run}, at {self.place}"


def find_block(loop: asyncio.AbstractEventLoop, thread: int) -> Block | None:
    """What the loop of that thread is busy with; None if a debugger holds it."""
    frames = list(_frames(sys._current_frames().get(thread)))
    if any(_module(frame).partition(".")[0] in _DEBUGGERS for frame in frames):
        return None
    outermost = frames[-1] if frames else None
    for depth, frame in enumerate(frames):
        if _module(frame) == _CORE and isinstance(frame.f_locals.get("self"), Execution):
            return Block(frame.f_locals["self"].run, "", _place(frames[: depth + 1]), outermost)
    context = _context_of(asyncio.current_task(loop))
    run, key = (context.run, context.key) if context is not None else ("", "")
    return Block(run, key, _place(frames), outermost)


def _context_of(task: asyncio.Task[Any] | None) -> TaskContext | None:
    """The attempt that an asyncio task belongs to."""
    if task is None:
        return None
    if sys.version_info >= (3, 12):
        return context_in(task.get_context())
    # Before 3.12 a task does not tell its context, but the collector knows it.
    found = [each for each in gc.get_referents(task) if isinstance(each, contextvars.Context)]
    return context_in(found[0]) if found else None


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames from the innermost outwards, up to the event loop."""
    while frame is not None and (_module(frame) not in _LOOPS or _is_inside(frame)):
        yield frame
        frame = frame.f_back


def _is_inside(frame: FrameType) -> bool:
    """Whether a frame of asyncio's is one of the loop of a body, which runs inside of the other."""
    return frame.f_back is not None and _module(frame.f_back) == _BODY


def _place(frames: list[FrameType]) -> str:
    """File, line and function: of the user's innermost frame, or else of the innermost."""
    for frame in frames:
        module = _module(frame)
        if not is_installed(frame.f_code.co_filename) and module.partition(".")[0] != "rewake":
            return _line(frame)
    return _line(frames[0]) if frames else "an unknown place"


def _line(frame: FrameType) -> str:
    code = frame.f_code
    return f"{code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))

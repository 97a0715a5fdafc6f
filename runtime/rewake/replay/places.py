"""The line of the user's code that asks for an operation, or that a body has come to."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

from rewake.replay.loop import WorkflowLoop, WorkflowTask
from rewake.replay.operation import OpenOp


def asked_here(loop: WorkflowLoop) -> str:
    """The user's line that asks for an operation right now, in brackets; '' if none is known."""
    for frame in _frames(sys._getframe(1)):
        return _line(frame.f_code.co_filename, frame.f_lineno)
    # A branch of its own that does nothing else: what counts is where it was made.
    branch = asyncio.current_task(loop)
    inside = branch.scope.inside if isinstance(branch, WorkflowTask) else None
    mistakes = loop.owner.mistakes if inside is None else inside.mistakes
    made = None if branch is None else mistakes.place_of(branch.get_coro())
    return "" if made is None else _line(*made)


def of_key(op: OpenOp | None, main: WorkflowTask | None) -> str:
    """Where an operation was asked for; without one, where the body waits instead."""
    if op is not None:
        return op.place
    return "" if main is None else come_to(main.get_coro())


def come_to(coro: Any) -> str:
    """The user's innermost line at which a coroutine waits; '' if it has ended."""
    found = ""
    while coro is not None:
        frame = getattr(coro, "cr_frame", None)
        if frame is not None and _is_users(frame):
            found = _line(frame.f_code.co_filename, frame.f_lineno)
        coro = getattr(coro, "cr_await", None)
    return found


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    """The frames of the user's code, from the call outwards, up to the workflow's loop."""
    while frame is not None and frame.f_code is not WorkflowLoop.run_until_idle.__code__:
        if _is_users(frame):
            yield frame
        frame = frame.f_back


def _is_users(frame: FrameType) -> bool:
    return _module(frame).partition(".")[0] not in ("rewake", "asyncio", "contextlib")


def _module(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", ""))


def _line(file: str, line: int) -> str:
    return f" ({file}, line {line})"

"""A debugger for a workflow that is replayed."""

from __future__ import annotations

import pdb
import sys
from collections.abc import Callable
from types import CodeType, FrameType, TracebackType
from typing import Any

_RUNTIME = frozenset({"rewake", "asyncio"})


class Debugger(pdb.Pdb):
    """pdb that steps through the user's code only, never through the runtime's or asyncio's."""

    def __init__(self) -> None:
        super().__init__(skip=["rewake", "rewake.*", "asyncio", "asyncio.*"], nosigint=True)
        self.prompt = "(rewake) "

    def run_until(self, code: CodeType, work: Callable[[], Any]) -> None:
        """Do `work`, and stop at the first line of `code`."""
        self.reset()
        self.botframe = sys._getframe()
        refused = self.set_break(
            code.co_filename, code.co_firstlineno, temporary=True, funcname=code.co_name
        )
        if refused:
            self.message(refused)
        self.set_continue()
        sys.settrace(self.trace_dispatch)
        try:
            work()
        finally:
            sys.settrace(None)

    def get_stack(
        self, frame: FrameType | None, trace: TracebackType | None
    ) -> tuple[list[tuple[FrameType, int]], int]:
        """The stack without the runtime's frames."""
        stack, _ = super().get_stack(frame, trace)
        stack = [(each, line) for each, line in stack if not _is_runtimes(each)] or stack
        return stack, len(stack) - 1

    @property
    def is_over(self) -> bool:
        """Whether the person has quit."""
        return bool(self.quitting)

    def stop_here_and_now(self) -> None:
        """Stop at the line of the user's code that is calling the runtime."""
        frame = _users_frame()
        if frame is None or self.is_over:
            return
        sys.settrace(None)
        self.interaction(frame, None)
        if not self.is_over:
            sys.settrace(self.trace_dispatch)


def _is_runtimes(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module.partition(".")[0] in _RUNTIME


def _users_frame() -> FrameType | None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if not _is_runtimes(frame):
            return frame
        frame = frame.f_back
    return None

"""Mistakes in a workflow's body that asyncio passes over in silence, noticed when the body ends.

- A coroutine of an operation that was never awaited: what it was for never happened. The run fails
  with a sentence that names it. Such a coroutine is held until then, so that this does not depend
  on when the collector finds it, and is the same on every replay.
- A branch that was begun and that nobody waited for: it is cancelled at the end. A warning.
- A wait that is open from the call and was never awaited: it is withdrawn at the end. A warning.
- A refusal (`ForbiddenInWorkflow`) that some `except` swallowed. A warning.

In doubt, silent: a coroutine that was closed, or that a branch made which failed or was cancelled,
has its reason; so has one that an async generator made, which may have been left half-way.
"""

from __future__ import annotations

import inspect
import itertools
import logging
import sys
from collections.abc import Coroutine, Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple, Protocol

from rewake.errors import UsageError

log = logging.getLogger("rewake.workflow")

Branch = Any
"""The asyncio task of a branch."""


class _Made(NamedTuple):
    coro: Any
    branch: Branch
    code: CodeType
    """Of what made it."""
    instruction: int
    """The one in the code that did."""

    @property
    def file(self) -> str:
        return self.code.co_filename

    @property
    def line(self) -> int | None:
        # Sought only when it is told of: that takes longer than to make a coroutine.
        return next(itertools.islice(self.code.co_positions(), self.instruction // 2, None))[0]

    @property
    def is_excused(self) -> bool:
        """Whether what made it may have ended before it came to await it."""
        if self.code.co_flags & inspect.CO_ASYNC_GENERATOR:
            return True
        if self.branch is None or not self.branch.done():
            return False
        # `exception()` would mark the exception as seen.
        return self.branch.cancelled() or self.branch._exception is not None


class OpenWait(Protocol):
    """A wait that is open from the call that asked for it."""

    @property
    def forgotten(self) -> str:
        """What it is, if nobody awaited or cancelled it."""


class Mistakes:
    """The mistakes of one instance so far, or of an attempt at a block in it."""

    __slots__ = ("_made", "_opened", "_prune_at", "_refusals")

    def __init__(self) -> None:
        self._made: list[tuple[Any, Branch, CodeType, int]] = []
        self._prune_at = 64
        self._refusals: list[str] = []
        self._opened: list[OpenWait] = []

    def made(self, coro: Coroutine[Any, Any, Any], branch: Branch, depth: int) -> None:
        """Note a coroutine of an operation, which the frame `depth` above this one made."""
        inside = None if branch is None else branch.scope.inside
        if inside is not None and inside.mistakes is not self:
            inside.mistakes.made(coro, branch, depth + 1)
            return
        frame = sys._getframe(depth)
        self._made.append((coro, branch, frame.f_code, frame.f_lasti))
        if len(self._made) > self._prune_at:
            self._made = [each for each in self._made if _is_untouched(each[0])]
            self._prune_at = 2 * len(self._made) + 64

    def place_of(self, coro: object) -> tuple[str, int] | None:
        """File and line at which a coroutine was made that may still be noted."""
        found = [_Made(*each) for each in self._made if each[0] is coro]
        return (found[0].file, found[0].line or 0) if found else None

    def opened(self, wait: OpenWait) -> None:
        """Note a wait that is open before it is awaited."""
        self._opened.append(wait)

    def refused(self, name: str, frame: FrameType | None) -> None:
        """Note a call that was refused, in this frame of the user's code."""
        place = f" ({frame.f_code.co_filename}, line {frame.f_lineno})" if frame else ""
        self._refusals.append(f"{name}{place}")

    def warn(self, left: Sequence[Any]) -> None:
        """Warn of what a body did that ended well. `left`: its branches that nobody awaits."""
        for name in self._refusals:
            log.warning(
                "the workflow was refused %s, and swallowed that error: it was not done, and will "
                "not be; put it into a @task, or into a step()",
                name,
            )
        for told in filter(None, (each.forgotten for each in self._opened)):
            log.warning(
                "the workflow ended, and has never awaited %s: nothing follows from what "
                "comes of it; await it, or cancel() it",
                told,
            )
        for branch in left:
            if not branch.cancelling():
                log.warning(
                    "the workflow ended before its branch %s, which nobody awaits: it is "
                    "cancelled; await what create_task() or gather() returned",
                    branch.get_name(),
                )

    def check(self, what: str = "workflow") -> None:
        """Raise `UsageError` if an operation was made and never awaited. `what` has ended."""
        untouched = [_Made(*each) for each in self._made if _is_untouched(each[0])]
        forgotten = [each for each in untouched if not each.is_excused]
        if forgotten:
            first = forgotten[0]
            more = f" (and {len(forgotten) - 1} more)" if len(forgotten) > 1 else ""
            raise UsageError(
                f"the {what} ended, and {first.coro.__name__}(...) was never awaited{more}: it "
                f"did not happen. Write `await` before it ({first.file}, line {first.line})"
            )

    def end(self) -> None:
        """Close what nobody will await, so that Python does not warn of it."""
        for coro, *_ in self._made:
            if _is_untouched(coro):
                coro.close()
        self._made.clear()
        self._opened.clear()


def _is_untouched(coro: Any) -> bool:
    # As in `inspect.getcoroutinestate`.
    return coro.cr_frame is not None and not (coro.cr_running or coro.cr_suspended)

"""A wait that is open from the call that asks for it: an approval, a callback.

What can be handed on (its links, its address) is there before it is awaited. So a body may come to
its end, or lose the branch that asked, before anybody awaits it. The rule is one for all of these:

- It may be awaited again, also by several branches. Cancelling one of them takes it back, unless
  that awaits `asyncio.shield(…)` of it. What was taken back cannot be awaited again.
- `cancel()` takes it back. So does the end of the run, and the end of the branch that asked for it
  and has failed or was cancelled before anybody awaited it: nobody may know of it any more.
- A body that ends well and has neither awaited nor cancelled it is warned of: nothing follows from
  what people decide, or machines call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from rewake.errors import UsageError
from rewake.replay.execution import Execution


class OpenWait:
    """A wait that is open. `_told` is what it is, in words; `_future` ends with it."""

    def __init__(self, execution: Execution, future: asyncio.Future[Any], told: str) -> None:
        self._execution = execution
        self._future = future
        self._told = told
        self._is_awaited = False

    def cancel(self) -> None:
        """Take it back, unless it has ended: what was handed on of it then says so."""
        self._is_awaited = True
        self._future.cancel()

    @property
    def forgotten(self) -> str:
        """What it is, if nobody awaited or cancelled it."""
        passed_over = not (self._is_awaited or self._future.cancelled())
        return self._told if passed_over else ""

    def _wait(self) -> Generator[Any, Any, Any]:
        self._is_awaited = True
        if self._future.cancelled() and not self._execution.loop.dead:
            raise UsageError(
                f"{self._told} was withdrawn when its wait was cancelled: it cannot "
                "be awaited again; await asyncio.shield() of it where it shall stay open"
            )
        return self._future.__await__()

    def _stand_alone(self) -> None:
        """Let it be noticed if nobody awaits it, as a plain wait is at once."""
        self._execution.mistakes.opened(self)
        branch = self._execution.loop.current_branch()
        if branch is not None and branch.scope.path:  # with the workflow itself, all is withdrawn
            # Not by the branch's own method: it is not awaited by this.
            asyncio.Task.add_done_callback(branch, self._branch_ended)

    def _branch_ended(self, branch: asyncio.Task[Any]) -> None:
        # `exception()` would mark the exception as seen.
        failed = branch.cancelled() or branch._exception is not None
        if failed and not self._is_awaited:
            self._future.cancel()

"""Two places in asyncio that make sets of things that hash by address, made deterministic.

`asyncio.as_completed` iterates `set(coroutines)`, so the order in which it starts them differs
from process to process; `asyncio.gather` builds its future directly, so a set of gathers
iterates by address. Both look up a name in their own module when they run. Giving that module
its own `set` and its own `_GatheringFuture` mends them for workflows however they were imported,
and changes nothing anywhere else.

Also here, since it leans on the same internals: which barrier (`gather`, `TaskGroup`) an asyncio
task reports to, by which a fan-out of a thousand tasks wakes its parent once and not a thousand
times. Watched by `tests/replay/test_canaries.py` on every Python minor.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import builtins
from collections.abc import Iterable
from typing import Any

from rewake.replay.loop import WorkflowLoop, WorkflowTask

_AddressHashed: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
_gather_callback_name = "gather.<locals>._done_callback"


class _OrderedGatheringFuture(_AddressHashed):  # type: ignore[misc]
    def __init__(self, children: list[Any], *, loop: asyncio.AbstractEventLoop) -> None:
        ordered = isinstance(loop, WorkflowLoop)
        self._serial = loop.next_serial() if isinstance(loop, WorkflowLoop) else 0
        if not ordered:
            self._serial = object.__hash__(self)
        super().__init__(children, loop=loop)

    def __hash__(self) -> int:
        return self._serial


def _ordered_set(items: Iterable[Any] = ()) -> builtins.set[Any]:
    """`set(items)`; in a workflow, coroutines in it are started first, in the order given."""
    if isinstance(asyncio._get_running_loop(), WorkflowLoop):
        items = [asyncio.ensure_future(i) if asyncio.iscoroutine(i) else i for i in items]
    return builtins.set(items)


def install() -> None:
    """Give `asyncio.tasks` the two names. Done once, when workflows are first imported."""
    asyncio.tasks.set = _ordered_set  # type: ignore[attr-defined]
    asyncio.tasks._GatheringFuture = _OrderedGatheringFuture  # type: ignore[attr-defined]


def barrier_of(task: WorkflowTask) -> object | None:
    """The one barrier that waits for this asyncio task, or None if it may matter otherwise.

    A barrier (a `gather` or a `TaskGroup`) makes nothing of one more success until all its
    children are done. Anything else that watches the task may react at once.
    """
    callbacks = task._callbacks  # type: ignore[attr-defined]
    if not callbacks or len(callbacks) != 1:
        return None
    callback = callbacks[0][0]
    owner = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.TaskGroup) or getattr(owner, "is_barrier", False):
        return owner
    if getattr(callback, "__qualname__", "") == _gather_callback_name:
        cell = callback.__code__.co_freevars.index("outer")
        outer: object = callback.__closure__[cell].cell_contents
        return outer
    return None

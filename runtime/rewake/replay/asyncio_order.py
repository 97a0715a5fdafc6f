"""What in asyncio is in no order, or differs between Python minors, made one for workflows.

- `asyncio.as_completed` starts its coroutines in the order of a `set` of them, and `wait` makes
  one too: they hash by address, so the order differs from process to process.
- `asyncio.gather` makes its future past `loop.create_future`: a set of gathers is in no order.
- `asyncio.all_tasks` goes through one set of the tasks of all loops of the process.
- `asyncio.wait_for` makes an asyncio task of what it waits for on Python 3.11, and on no other: so
  keys, and who is first in a race, would differ.
- `asyncio.eager_task_factory` (3.12 and later) makes asyncio tasks that begin at once, past the
  loop: they would have no place in the history. LangGraph makes branches by it.

The first three look up names in their own module when they run. Giving that module its own `set`,
`_GatheringFuture` and registry of tasks mends them for workflows however they were imported, and
changes nothing outside of a workflow. From Python 3.14 on `all_tasks` is C all through, so it is
replaced itself. Of 3.11's `wait_for` the code is replaced, and of the eager factory the
constructor that it has captured, which mends them wherever they are known.

Also here, since it leans on the same internals: which barrier (`gather`, `wait`, `TaskGroup`) an
asyncio task reports to, by which a fan-out of a thousand tasks wakes its parent once and not a
thousand times, and by which a `gather` that nobody awaits is found. Watched by
`tests/replay/test_canaries.py` on every Python minor.
"""

from __future__ import annotations

import asyncio
import asyncio.tasks
import builtins
import sys
import types
from collections.abc import Collection, Iterable, Iterator
from typing import Any, NamedTuple

from rewake.replay.loop import WorkflowLoop, WorkflowTask
from rewake.replay.origins import note_failure

REGISTRY = "_all_tasks" if hasattr(asyncio.tasks, "_all_tasks") else "_scheduled_tasks"
"""The set of `asyncio.all_tasks`: `_all_tasks` on 3.11, `_scheduled_tasks` on 3.12 and 3.13."""

_GatheringFuture: Any = asyncio.tasks._GatheringFuture  # type: ignore[attr-defined]
_BARRIERS = {
    "gather.<locals>._done_callback": "outer",
    "_wait.<locals>._on_completion": "waiter",
}
"""For asyncio's callbacks that watch a child: the captured variable that is the barrier."""


def _running() -> WorkflowLoop | None:
    loop = asyncio._get_running_loop()
    return loop if isinstance(loop, WorkflowLoop) else None


class _OrderedGatheringFuture(_GatheringFuture):  # type: ignore[misc]
    """The future that `gather` returns in a workflow: hashes by creation order."""

    def __init__(self, children: list[Any], *, loop: WorkflowLoop) -> None:
        self._serial = loop.next_serial()
        self.is_awaited = False
        """Whether anybody ever waited for it."""
        super().__init__(children, loop=loop)

    def add_done_callback(self, *args: Any, **context: Any) -> None:
        self.is_awaited = True
        super().add_done_callback(*args, **context)

    def __hash__(self) -> int:
        return self._serial


def _gathering_future(children: list[Any], *, loop: asyncio.AbstractEventLoop) -> Any:
    if isinstance(loop, WorkflowLoop):
        return _OrderedGatheringFuture(children, loop=loop)
    return _GatheringFuture(children, loop=loop)


def _ordered_set(items: Iterable[Any] = ()) -> Collection[Any]:
    """`set(items)`; in a workflow, a collection in order (asyncio only iterates over it)."""
    ordered = dict.fromkeys(items) if _running() is not None else {}
    return ordered.keys() if ordered else builtins.set(items)


class _Registry:
    """The asyncio tasks of all loops; to a workflow, its own unfinished ones in creation order."""

    def __init__(self, everywhere: Any) -> None:
        self._everywhere = everywhere

    def __iter__(self) -> Iterator[Any]:
        loop = _running()
        return iter(self._everywhere if loop is None else loop.unfinished())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._everywhere, name)


_all_tasks = asyncio.all_tasks


def _all_tasks_in_order(loop: asyncio.AbstractEventLoop | None = None) -> Any:
    """Return a set of all tasks for the loop."""
    running = _running()
    if running is None or loop not in (None, running):
        return _all_tasks(loop)
    return builtins.set(running.unfinished())


_wait_for: Any = types.FunctionType(
    asyncio.wait_for.__code__, vars(asyncio.tasks), "wait_for", asyncio.wait_for.__defaults__
)


async def _wait_for_in_place(awaited: Any, timeout: float | None) -> Any:
    """`wait_for`; in a workflow as it is from Python 3.12 on, in the branch that waits."""
    if _running() is None:
        return await _wait_for(awaited, timeout)
    if timeout is None or timeout > 0:
        async with asyncio.timeout(timeout):
            return await awaited
    future = asyncio.ensure_future(awaited)
    if future.done():
        return future.result()
    loop = asyncio.get_running_loop()
    await asyncio.tasks._cancel_and_wait(future, loop=loop)  # type: ignore[attr-defined]
    try:
        return future.result()
    except asyncio.CancelledError as error:
        raise TimeoutError from error


async def _calls_in_place(fut, timeout):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    return await _rewake_wait_for(fut, timeout)  # type: ignore[name-defined]  # noqa: F821


def _in_its_turn(coro: Any, *, loop: Any, eager_start: bool = True, **how: Any) -> Any:
    """An asyncio task that is to begin at once: in a workflow it begins in its turn."""
    if isinstance(loop, WorkflowLoop):
        return loop.create_task(coro, **how)
    made: Any = asyncio.Task
    return made(coro, loop=loop, eager_start=eager_start, **how)


def install() -> None:
    """Give `asyncio` what is replaced. To call it again does no harm."""
    names: dict[str, Any] = vars(asyncio.tasks)
    names["set"] = _ordered_set
    names["_GatheringFuture"] = _gathering_future
    if sys.version_info >= (3, 14):
        names["all_tasks"] = vars(asyncio)["all_tasks"] = _all_tasks_in_order
    elif not isinstance(names[REGISTRY], _Registry):
        names[REGISTRY] = _Registry(names[REGISTRY])
    if sys.version_info < (3, 12):
        names["_rewake_wait_for"] = _wait_for_in_place
        asyncio.wait_for.__code__ = _calls_in_place.__code__
    else:
        eager: Any = vars(asyncio)["eager_task_factory"]
        (constructor,) = eager.__closure__
        constructor.cell_contents = _in_its_turn


def is_left_alone(branch: Any) -> bool:
    """Whether nobody ever waited for this asyncio task, or only a `gather` that is left alone."""
    if not branch.is_awaited:
        return True
    barrier, _ = barrier_of(branch) or (None, None)
    return isinstance(barrier, _OrderedGatheringFuture) and is_left_alone(barrier)


class Missing(NamedTuple):
    """What a barrier makes nothing of: fewer successes than that, and so many failures."""

    successes: int | None
    """None: it waits for the end of all."""
    failures: int


class Needed(NamedTuple):
    """How many outcomes of tasks a workflow needs before it can do anything new."""

    arrivals: int
    failures: int
    """So many of them may be failures: one more counts as enough, however few have arrived."""


_NOTHING = Needed(1, 0)
_ANY = 1 << 30
"""More failures than there can be branches."""


def smallest_barrier(tasks: Iterable[WorkflowTask | None]) -> Needed:
    """What must come of these before a barrier is through, unless some are under none."""
    barriers: dict[int, tuple[Missing, int]] = {}
    for task in tasks:
        found = barrier_of(task) if task else None
        if found is None:
            return _NOTHING
        barrier, missing = found
        _, count = barriers.get(id(barrier), (missing, 0))
        barriers[id(barrier)] = (missing, count + 1)
    if not barriers:
        return _NOTHING
    arrivals = min(
        count if missing.successes is None else min(missing.successes, count)
        for missing, count in barriers.values()
    )
    failures = min(missing.failures for missing, _ in barriers.values())
    return Needed(arrivals, min(failures, arrivals))


def barrier_of(task: Any) -> tuple[object, Missing] | None:
    """The barrier that alone watches this asyncio task, or None if anything else may react to it.

    A barrier (a `gather`, a `TaskGroup`, a `wait` for more than the first, `rewake.parallel`)
    makes nothing of one more success until all its children are done, or enough of them. Any other
    watcher of the asyncio task may react at once.
    """
    watchers = [each[0] for each in task._callbacks or () if each[0] is not note_failure]
    if len(watchers) != 1:
        return None
    callback: Any = watchers[0]
    owner: object = getattr(callback, "__self__", None)
    if isinstance(owner, asyncio.TaskGroup):
        return owner, Missing(None, 0)
    if owner is not None:
        missing = getattr(owner, "missing", None)
        return (owner, missing) if isinstance(missing, Missing) else None
    name = _BARRIERS.get(getattr(callback, "__qualname__", ""))
    if name is None or callback.__module__ != asyncio.tasks.__name__:
        return None
    captured = dict(zip(callback.__code__.co_freevars, callback.__closure__, strict=True))
    until = captured["return_when"].cell_contents if name == "waiter" else None
    if until == asyncio.FIRST_COMPLETED:
        return None
    bears = until == asyncio.ALL_COMPLETED
    bears = bears or (name == "outer" and captured["return_exceptions"].cell_contents)
    return captured[name].cell_contents, Missing(None, _ANY if bears else 0)

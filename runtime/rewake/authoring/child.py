"""Child runs: a workflow that a workflow awaits, or starts and leaves to itself.

    total = await bill(order)                     begins a run of `bill`, and waits for its end
    handle = await bill.start(order, id="b-7")    begins one; it goes on whatever comes of this run
    total = await handle.result()                 waits for its end

Each is an operation that is about another run (`rewake.kinds`), and is asked of that by a message,
as a task is (`engine/outside/children.py`). A child has an id, a history and retries of its own,
and its input and result are values of its own run: what comes of it is copied to whoever waits.

**A call ends with its child.** Who is cancelled while it awaits one (by a request to cancel, by
`asyncio.timeout`, by a group that failed) asks it to cancel, and goes on once its cleanup has run.
Cancelled a second time, it waits no longer. The same is true of a child that was started with
`on_parent_end="cancel"`: a branch of the body awaits it, which is cancelled at the body's end.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

from msgspec.structs import replace

from rewake.authoring.quorum import setting
from rewake.authoring.sending import send_signal
from rewake.authoring.task import Task, result_of
from rewake.errors import AppError, UsageError
from rewake.kin import AN_ID, OtherRun, child_of, is_id
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Outcome
from rewake.replay.execution import Execution, current, leaf_code
from rewake.replay.loop import WorkflowFuture
from rewake.replay.operation import OpFuture, operation
from rewake.replay.program import Codec

R_co = TypeVar("R_co", covariant=True)
OnParentEnd = Literal["cancel", "leave"]
"""What becomes of a child once the run has ended that has started it."""
Existing = Literal["attach", "reject"]
"""What becomes of a start where there is a run of its id."""


class RunHandle(Generic[R_co]):
    """A run that a workflow has started. Made by `Workflow.start`; its `id` is the run's.

    A block may return it, and a workflow be given it: it is stored as what it names.
    """

    def __init__(self, execution: Execution | None, name: str, label: str, id: str) -> None:
        self.id = id
        self._in = execution
        self._name = name
        self._label = label
        self._end: WorkflowFuture | None = None

    def __repr__(self) -> str:
        return f"<run {self.id}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _handle_of, (self._name, self._label, self.id)

    @property
    def _execution(self) -> Execution:
        if self._in is None:
            raise UsageError(f"the handle of run {self.id!r} is of use in the body of a workflow")
        return self._in

    @operation
    async def result(self) -> R_co:
        """What the run returned, once it has ended. It may be asked for again.

        Giving it up (by `asyncio.timeout`, say) leaves the run alone. Raises `TaskError` if the run
        failed, or was cancelled; its `type` is that of its error (`CancelledError`, `killed`).
        """
        if self._end is None:
            self._end = self._ask_for_end(held=False)
        found: R_co = await asyncio.shield(self._end)
        return found

    @operation
    async def cancel(self) -> None:
        """Ask the run to cancel, unless somebody has asked before; it may have ended by then.

        Its cleanup runs: `await handle.result()` waits for its end.
        """
        await _ask_to_cancel(self._execution, self._label, self.id)

    @operation
    async def signal(self, name: str, value: Any = None, *, id: str | None = None) -> None:
        """Send a signal to the run, once. As `send_signal`, which says what it raises."""
        await send_signal(self.id, name, value, id=id)

    def _ask_for_end(self, *, held: bool) -> WorkflowFuture:
        execution, run = self._execution, self.id
        future = execution.request(
            Kind.CHILD_RESULT,
            f"{self._label}-result",
            name=run,
            about=lambda _: OtherRun(run, held=held),
            resolve=functools.partial(
                _returned, execution.codec, execution.program.function_of(self._name)
            ),
        )
        future.add_done_callback(_seen)
        return future

    def _tie(self) -> None:
        """Let the run be asked to cancel, and be waited for, once the body is at its end."""
        execution = self._execution
        scope = execution.group(f"{self._label}-tie").next()
        branch = execution.spawn(self._stay(), scope)
        branch.is_awaited = True  # it is nobody's mistake that it is left alone

    async def _stay(self) -> None:
        self._end = self._end or self._ask_for_end(held=True)
        await _until_over(self._execution, self._label, self.id, self._end)


class Children:
    """The child runs that a workflow can have: how they are asked for, in a run that is `current`.

    `workflow` is the `Workflow` itself, as the app lists it.
    """

    def __init__(self, workflow: object, task: Task[..., Any]) -> None:
        self._workflow = workflow
        self._function = task.function
        self._task = task

    def check(self, execution: Execution) -> None:
        """Raise `AppError` unless every server finds the workflow by its name."""
        if not (execution.program.is_registered(self._workflow) or execution.loop.dead):
            name = self._task.name
            raise AppError(
                f"the app does not list the workflow {name!r}, so no server could run it: import "
                f"it into the app's module, or call it in place: {name}.function(...)"
            )

    async def call(
        self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Begin a run, and wait for its end."""
        future = self._request(
            execution,
            Kind.CHILD,
            args,
            kwargs,
            about=lambda key: OtherRun(child_of(execution.run, key, execution.round), held=True),
            resolve=functools.partial(_returned, execution.codec, self._function),
        )
        about = future.op.about if isinstance(future, OpFuture) else None
        return await _until_over(execution, self._task.label, about.run if about else "", future)

    async def start(
        self,
        execution: Execution,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        other: OtherRun,
    ) -> RunHandle[Any]:
        """Begin a run, and leave it to itself; if it is tied, until the body is at its end."""
        label = self._task.label
        if other.run == execution.run:
            raise UsageError(f"a run cannot start itself: {other.run!r} is its own id")
        run: str = await self._request(
            execution,
            Kind.CHILD_START,
            args,
            kwargs,
            about=lambda key: other if other.run else _named(other, execution, key),
            resolve=functools.partial(_begun, execution.codec),
        )
        handle = RunHandle[Any](execution, self._task.name, label, run)
        if other.tied and not execution.loop.dead:
            handle._tie()
            await asyncio.sleep(0)  # it begins: one that has not ends without a word
        return handle

    def _request(
        self,
        execution: Execution,
        kind: Kind,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        about: Callable[[str], OtherRun],
        resolve: Callable[[str, Outcome], Any],
    ) -> WorkflowFuture:
        def by_whom(key: str) -> OtherRun:
            return replace(about(key), held=True, by=setting.get().starter)

        task = self._task
        return execution.request(
            kind,
            task.label,
            name=task.name,
            digest=execution.codec.digest(task.arguments(args, kwargs)),
            args=lambda key: execution.codec.encode(
                [list(args), kwargs], key=key, purpose=Purpose.CALL, hidden=task.hidden
            ),
            compare=functools.partial(task.compare, execution.codec, task.arguments(args, kwargs)),
            about=by_whom,
            resolve=resolve,
        )


def other_run(
    id: str | None, if_running: Existing, if_finished: Existing, on_parent_end: OnParentEnd
) -> OtherRun:
    """The run that is started by these wishes.

    Raises `UsageError`, `ValueError`.
    """
    asked = {"if_running": if_running, "if_finished": if_finished}
    for name, value in asked.items():
        if value not in ("attach", "reject"):
            raise ValueError(f"{name} is 'attach' or 'reject', and not {value!r}")
        if value == "reject" and id is None:
            raise UsageError(f"{name} needs an id: without one there is no run to meet")
    if on_parent_end not in ("cancel", "leave"):
        raise ValueError(f"on_parent_end is 'cancel' or 'leave', and not {on_parent_end!r}")
    given: object = id
    if given is not None and not (isinstance(given, str) and is_id(given)):
        raise UsageError(f"a run id is {AN_ID}; not {id!r}")
    return OtherRun(
        id or "",
        new_or_ended=if_running == "reject",
        new_or_live=if_finished == "reject",
        tied=on_parent_end == "cancel",
    )


async def _until_over(execution: Execution, label: str, run: str, end: asyncio.Future[Any]) -> Any:
    """What comes of a run. Whoever is cancelled here asks it to cancel, and waits for its end."""
    end.add_done_callback(_seen)
    try:
        return await asyncio.shield(end)
    except asyncio.CancelledError:
        if not end.done() and not execution.loop.dead:
            asked = _ask_to_cancel(execution, label, run, held=True)
            asked.add_done_callback(lambda asked: _refused(asked) and end.cancel())
            try:
                await asyncio.wait([end])
            finally:
                asked.cancel()
                end.cancel()
        raise


def _ask_to_cancel(
    execution: Execution, label: str, run: str, *, held: bool = False
) -> WorkflowFuture:
    about = OtherRun(run, held=held)
    return execution.request(
        Kind.CHILD_CANCEL,
        f"{label}-cancel",
        name=run,
        about=lambda _: about,
        resolve=lambda _, outcome: outcome.kind,
    )


def _refused(asked: asyncio.Future[Any]) -> bool:
    """Whether a run is not asked to cancel: it is no child of this one, which was forked."""
    return not asked.cancelled() and asked.result() is OutcomeKind.ERROR


def _handle_of(name: str, label: str, id: str) -> RunHandle[Any]:
    """A handle that was stored; it is of use in the body that reads it."""
    return RunHandle(current(), name, label, id)


def _named(other: OtherRun, execution: Execution, key: str) -> OtherRun:
    return replace(other, run=child_of(execution.run, key, execution.round))


def _returned(codec: Codec, function: Callable[..., Any], key: str, outcome: Outcome) -> Any:
    return result_of(codec, key, outcome, function)


def _begun(codec: Codec, key: str, outcome: Outcome) -> Any:
    return result_of(codec, key, outcome, _id)


def _id() -> str:
    return ""


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of how a run ended: who gave it up, or has not asked yet, need not hear of it."""
    if not future.cancelled():
        future.exception()


leaf_code.add(Children.call.__code__)
leaf_code.add(RunHandle.result.__wrapped__.__code__)  # type: ignore[attr-defined]

"""Stand-ins for tasks and workflows: what is called instead, and with what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from rewake.app import App
from rewake.authoring.attempt import is_async
from rewake.authoring.hints import signature_of
from rewake.authoring.task import Task
from rewake.authoring.workflow import Workflow
from rewake.errors import UsageError
from rewake.replay.execution import current

Faked = Task[..., Any] | Workflow[..., Any]


class Fakes:
    """The stand-ins of one app, until `undo`."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._real: dict[Faked, Callable[..., Any]] = {}

    def put(self, of: Faked, function: Callable[..., Any] | None) -> list[Mapping[str, Any]]:
        """Let `function` be called for a task or child, or itself; the list gets the arguments.

        Raises `UsageError` for what the app does not list.
        """
        listed = self._app.tasks if isinstance(of, Task) else self._app.workflows
        name = getattr(of, "name", None)  # it may be anything: tests are not always checked
        if name is None or listed.get(name) is not of:
            raise UsageError(f"the app lists no task or workflow {of!r}: what is faked has a name")
        real = self._real.setdefault(of, of.function)
        calls: list[Mapping[str, Any]] = []
        stand_in = function or real
        if isinstance(of, Workflow) and not is_async(stand_in):
            raise UsageError(f"what stands for the workflow {of.name!r} has to be async")
        of.function = _noting(real, stand_in, calls)
        return calls

    def undo(self) -> None:
        """Let everything be itself again."""
        for of, real in self._real.items():
            of.function = real
        self._real.clear()


def _noting(
    real: Callable[..., Any], stand_in: Callable[..., Any], calls: list[Mapping[str, Any]]
) -> Callable[..., Any]:
    """A function that looks like `real`, notes its arguments, and calls the other one.

    The body of a run is called again with each replay, which is no call.
    """
    signature, runs = signature_of(real), set[str]()

    def note(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        execution = current()
        if execution is not None:
            if execution.run in runs:
                return
            runs.add(execution.run)
        named = None if signature is None else signature.bind(*args, **kwargs).arguments
        calls.append({"args": args, "kwargs": kwargs} if named is None else dict(named))

    if is_async(stand_in):

        @functools.wraps(real)
        async def called(*args: Any, **kwargs: Any) -> Any:
            note(args, kwargs)
            return await stand_in(*args, **kwargs)

        return called

    @functools.wraps(real)
    def called_at_once(*args: Any, **kwargs: Any) -> Any:
        note(args, kwargs)
        return stand_in(*args, **kwargs)

    return called_at_once

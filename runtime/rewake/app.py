"""An app: the workflows and tasks found in given modules. There is no global registry."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import sys
import sysconfig
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from rewake.authoring.alerting import Hook
from rewake.authoring.middleware import Middleware
from rewake.authoring.quorum import Groups
from rewake.authoring.task import Task
from rewake.authoring.telling import teller_of
from rewake.authoring.workflow import Workflow
from rewake.errors import AppError, InvalidInput, RunNotFound
from rewake.schedules.definition import Definition
from rewake.values import references
from rewake.webhooks.trigger import Webhook

_LIBRARIES = (
    str(Path(__file__).parent),
    *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")),
)
OUR_LOGGERS = frozenset({"rewake", "uvicorn", "asyncio"})
"""Loggers of the server itself, with all below them."""


class App:
    """Workflows and tasks by name.

    Made from modules: every `Workflow` and `Task` in their namespaces belongs to it, imported ones
    too. Raises `AppError` if two of a kind have one name, two webhooks one path, or if a workflow
    takes what no input can be converted to. `webhooks` has the workflow of each path, `schedules`
    that of each schedule, `hooks` who is told of what, `tellers` the workflow by which each of
    their tasks is called, and `groups` the function that says who is in a group, if any.
    """

    def __init__(self, *modules: ModuleType) -> None:
        self.workflows: dict[str, Workflow[Any, Any]] = {}
        self.tasks: dict[str, Task[Any, Any]] = {}
        self.webhooks: dict[str, tuple[Webhook, Workflow[Any, Any]]] = {}
        self.schedules: dict[str, tuple[Definition, Workflow[Any, Any]]] = {}
        self.hooks: list[Hook] = []
        self.tellers: dict[str, Workflow[Any, Any]] = {}
        self.middleware: list[Middleware] = []
        self.groups: Groups | None = None
        for module in modules:
            for found in list(vars(module).values()):
                self.add(found)

    @property
    def tags(self) -> set[str]:
        """The tags of its tasks."""
        return {task.tag for task in self.tasks.values() if task.tag}

    def add(self, found: object) -> None:
        """Add a workflow, a task, a hook, a middleware or the function of groups; else nothing.

        Raises `AppError` for a workflow with a parameter that no input can be converted to.
        """
        if isinstance(found, Workflow):
            self._add_workflow(found)
        elif isinstance(found, Task):
            _enter(self.tasks, found.name, found, "task")
        elif isinstance(found, Hook) and found not in self.hooks:
            self.hooks.append(found)
            self._add_tellers(found)
        elif isinstance(found, Middleware) and found not in self.middleware:
            self.middleware.append(found)
        elif isinstance(found, Groups):
            if self.groups not in (None, found):
                raise AppError("two functions are marked with @groups; one says who is in each")
            self.groups = found

    def _add_workflow(self, found: Workflow[Any, Any]) -> None:
        found.inputs  # noqa: B018 - its types are looked at now
        _enter(self.workflows, found.name, found, "workflow")
        for each in found.webhooks:
            self._add_webhook(each, found)
        if found.on_failure is not None:
            self._add_tellers(found.on_failure)
        for name, made in found.schedules.items():
            self._add_schedule(name, made, found)

    def _add_webhook(self, added: Webhook, of: Workflow[Any, Any]) -> None:
        known, other = self.webhooks.setdefault(added.path, (added, of))
        if known is not added or other is not of:
            names = " and ".join(sorted({of.name, other.name}))
            raise AppError(f"the webhook path {added.path!r} is taken twice (workflow {names})")

    def _add_tellers(self, hook: Hook) -> None:
        for task in hook.tasks:
            self.add(task)
            if task.name not in self.tellers:
                self.tellers[task.name] = teller = teller_of(task)
                self.add(teller)

    def _add_schedule(self, name: str, added: Definition, of: Workflow[Any, Any]) -> None:
        try:
            of.recorded(added.inputs)
        except InvalidInput as error:
            raise AppError(f"the input= of schedule {name!r} does not fit: {error}") from None
        known, other = self.schedules.setdefault(name, (added, of))
        if known is not added or other is not of:
            raise AppError(f"two schedules are named {name!r}; give each a name= of its own")

    def workflow(self, name: str) -> Workflow[Any, Any]:
        """The workflow of that name. Raises `RunNotFound`."""
        try:
            return self.workflows[name]
        except KeyError:
            known = ", ".join(sorted(self.workflows)) or "none"
            raise RunNotFound(f"there is no workflow {name!r} (there is: {known})") from None


def _enter(known: dict[str, Any], name: str, found: object, kind: str) -> None:
    if known.setdefault(name, found) is not found:
        raise AppError(f"two {kind}s are named {name!r}; give one of them a name= of its own")


def load_app(source: str) -> tuple[App, str | None]:
    """The app at `source`, and the workflow that it names, if it names one.

    `source` is `app.py`, `app.py:main`, `package.module`, or `package.module:main`. Warns
    (`DeterminismWarning`) of code that gives another answer on replay. Raises `AppError` if the app
    cannot be found or imported (the message shows where), or lacks the workflow.
    """
    path, colon, name = source.rpartition(":")
    if not colon or name.endswith(".py") or "/" in name:
        path, name = source, ""
    with _kept_loggers():
        module = _load_file(Path(path)) if path.endswith(".py") else _load_module(path)
    app = app_of(module, path)
    if name and name not in app.workflows:
        known = ", ".join(sorted(app.workflows))
        raise AppError(f"{path} has no workflow {name!r} (it has: {known})")
    return app, name or None


def app_of(module: ModuleType, path: str = "") -> App:
    """The app of a module that was imported, from `path`. Warns as `load_app` does.

    Raises `AppError` if it has no workflow.
    """
    app = App(module)
    if not app.workflows:
        raise AppError(f"{path or module.__name__} has no @workflow")
    references.enter(module.__name__)
    from rewake.checking import determinism  # noqa: PLC0415 - only a load needs it

    determinism.check(app.workflows.values())
    determinism.check_tasks(app.tasks.values())
    return app


@contextmanager
def _kept_loggers() -> Iterator[None]:
    """Let no app that configures its own logging silence the server's: `dictConfig` disables all
    loggers that it does not name, unless it is told otherwise.
    """
    known = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)]
    ours = [each for each in known if each.name.partition(".")[0] in OUR_LOGGERS]
    enabled = [each for each in ours if not each.disabled]
    try:
        yield
    finally:
        for each in enabled:
            each.disabled = False


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise AppError(f"there is no file {path}")
    name = path.stem
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise AppError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise AppError(f"{path} cannot be imported: {_where(error, path)}") from error
    return module


def _load_module(name: str) -> ModuleType:
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except Exception as error:
        raise AppError(f"{name} cannot be imported: {_where(error, None)}") from error


def _where(error: Exception, path: Path | None) -> str:
    what = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError):
        elsewhere = Path(error.filename or "").name
        file = "" if path is not None and elsewhere == path.name else f"{elsewhere}, "
        return f"{what.partition(' (')[0]} ({file}line {error.lineno})"
    frames = [f for f in traceback.extract_tb(error.__traceback__) if _is_users(f.filename)]
    if not frames:
        return what
    culprit = Path(frames[-1].filename).name
    file = "" if path is not None and culprit == path.name else f"{culprit}, "
    return f"{what} ({file}line {frames[-1].lineno})"


def _is_users(file: str) -> bool:
    """Whether a file is neither of Python, nor installed, nor Rewake's own."""
    return not file.startswith(("<", *_LIBRARIES))

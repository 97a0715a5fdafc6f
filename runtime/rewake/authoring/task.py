"""`@task`: a function that a workflow runs as an invocation of its own."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from rewake.authoring.async_callable import AsyncCallable
from rewake.authoring.attempt import in_place
from rewake.authoring.caching import caching_of
from rewake.authoring.hints import return_hint, signature_of
from rewake.authoring.limits import LimitOptions, Rules, rules_of
from rewake.authoring.marking import hidden_in_call, hidden_in_value
from rewake.authoring.policy import Options, Policy, Seconds
from rewake.errors import AppError, CheckpointUnreadable
from rewake.kinds import Kind, Purpose
from rewake.records import Outcome, Value
from rewake.replay.execution import Execution, current, leaf_code
from rewake.replay.loop import WorkflowFuture
from rewake.replay.operation import How, note_made
from rewake.replay.program import Codec
from rewake.replay.scope import short_name
from rewake.tags import UNTAGGED, checked_tag
from rewake.values.comparing import first_difference
from rewake.values.digests import text_of
from rewake.values.failures import task_error
from rewake.values.references import noting_dropped

P = ParamSpec("P")
Q = ParamSpec("Q")
S = TypeVar("S")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class TaskOptions(Options, LimitOptions, total=False):
    """The options of a task: those of tasks and steps, its `name` in the app, and its `tag`.

    `tag`: the servers that carry it out are those of this tag (`rewake serve --tags gpu`). Its
    limits and its `priority` are as in `LimitOptions`.
    `cache`: for so long a call gets the result of an earlier one with the same arguments, of any
    run, and of those that come together one alone is carried out. Another text of the function, or
    another `cache_version`, is another task to it. Errors are not cached.
    `heartbeat`: an attempt that is silent for longer (`TaskContext.heartbeat`) is given up, and
    another begins after a `delay`. It counts as lost, so it uses up no retry; the third in a row
    that comes no further fails the task, or as many as there are attempts.
    """

    name: str
    tag: str
    cache: Seconds | None
    cache_version: int | str | None
    heartbeat: Seconds | None


class Task(AsyncCallable, Generic[P, R_co]):
    """A function that runs as an invocation of its own. Made by `task`.

    Calling it gives a coroutine, as an async function does, also where the function is sync.
    Awaiting the task itself calls it without arguments: `await task(lambda: f(x))`.
    Outside a workflow the function runs in place, with its retries. A task made of a method is
    itself a method: it travels with its object.

    Awaiting a failed task raises `TaskError`. Calling it with arguments that do not fit the
    function raises `TypeError`, at once.
    """

    _origin: tuple[Task[..., Any], object] | None = None
    """If this is a method: the task in the class, and the object."""

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        policy: Policy,
        tag: str = UNTAGGED,
        rules: Rules | None = None,
    ) -> None:
        self._look_like(function)
        self.tag = tag
        self.rules = rules
        self.function = function
        self.name = name
        self.policy = policy
        self.label = short_name(name) if name == default_name(function) else name

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        coro: Any = self._invoke(args, kwargs, self.arguments(args, kwargs))
        coro.__name__ = coro.__qualname__ = self.label
        note_made(coro)
        return cast("Coroutine[Any, Any, R_co]", coro)

    @overload
    def __get__(self, instance: None, owner: type, /) -> Task[P, R_co]: ...
    @overload
    def __get__(
        self: Task[Concatenate[S, Q], R], instance: S, owner: type | None = None, /
    ) -> Task[Q, R]: ...
    def __get__(self, instance: Any, owner: type | None = None, /) -> Any:
        if instance is None:
            return self
        method: Task[..., Any] = Task(
            types.MethodType(self.function, instance), self.name, self.policy, self.tag, self.rules
        )
        method._origin = (self, instance)
        return method

    def __await__(self: Task[[], R]) -> Generator[Any, Any, R]:
        return self().__await__()

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        if self._origin is not None:
            return (Task.__get__, self._origin)
        made = (self.function, self.name, self.policy, self.tag, self.rules)
        return importable(self) or (Task, made)

    async def _invoke(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], arguments: dict[str, Any]
    ) -> Any:
        execution = current()
        if execution is None:
            return await in_place(self.function, args, kwargs, self.policy, beats=True)
        return await self._asked_for(execution, args, kwargs, arguments)

    def request(
        self,
        execution: Execution,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        label: str = "",
        resolve: Callable[[str, Outcome], Any] | None = None,
    ) -> WorkflowFuture:
        """Ask for a call of it in a run. `label` names it in its key, if not the task's own does.

        `resolve` makes what is awaited of its outcome. Raises `TypeError` and `UsageError` as
        calling it does.
        """
        arguments = self.arguments(args, kwargs)
        return self._asked_for(execution, args, kwargs, arguments, label, resolve)

    def _asked_for(
        self,
        execution: Execution,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        arguments: dict[str, Any],
        label: str = "",
        resolve: Callable[[str, Outcome], Any] | None = None,
    ) -> WorkflowFuture:
        registered = execution.program.is_registered(self)
        return execution.request(
            Kind.TASK,
            label or self.label,
            name=self.name if registered else closure_name(self.function),
            digest=execution.codec.digest(arguments),
            how=functools.partial(self._how, execution, arguments),
            args=functools.partial(self._encode, execution, args, kwargs),
            compare=functools.partial(self.compare, execution.codec, arguments),
            resolve=resolve or functools.partial(self._resolve, execution.codec),
        )

    def _how(self, execution: Execution, arguments: dict[str, Any]) -> How:
        """How a call is carried out. Raises `InvalidInput` if the key of a limit cannot be made."""
        if self.rules is None:
            return How(self.tag)
        whose = execution.program
        if self._origin is not None:
            arguments = {"self": self._origin[1], **arguments}
        return How(self.tag, self.rules.terms(arguments, tenant=whose.tenant, veil=whose.veil))

    def arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        """The arguments by parameter name, without those that equal a default.

        Raises `TypeError` if they do not fit the function.
        """
        plain = self._plain_parameters
        if plain is not None and (bound := _bound_plainly(*plain, args, kwargs)) is not None:
            return bound
        signature = signature_of(self.function)
        if signature is None:
            return {"args": list(args), "kwargs": kwargs}
        parameters = signature.parameters
        return {
            name: value
            for name, value in signature.bind(*args, **kwargs).arguments.items()
            if not _is_default(value, parameters[name].default)
        }

    @functools.cached_property
    def _plain_parameters(self) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
        return _plain_parameters(self.function)

    @functools.cached_property
    def hidden(self) -> tuple[str, ...]:
        """The secret parts of a call."""
        return hidden_in_call(self.function)

    def _encode(
        self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any], key: str
    ) -> Value:
        registered = execution.program.is_registered(self)
        call: Any = [list(args), kwargs] if registered else (self, args, kwargs)
        hidden = self.hidden if registered else hidden_in_call(self.function, under=1)
        return execution.codec.encode(call, key=key, purpose=Purpose.CALL, hidden=hidden)

    def compare(self, codec: Codec, asked: dict[str, Any], key: str, recorded: Value) -> str | None:
        """Where recorded arguments differ from these; None if they cannot be read any more."""
        try:
            with noting_dropped() as dropped:
                *_, args, kwargs = codec.decode(recorded, key=key, purpose=Purpose.CALL)
            then = self.arguments(tuple(args), kwargs)
            hidden = self.hidden or hidden_in_value(then) or hidden_in_value(asked)
            found = first_difference(then, asked, shown=not hidden)
            return found or (f"{dropped[0]} was taken away" if dropped else "")
        except Exception:
            return None

    def _resolve(self, codec: Codec, key: str, outcome: Outcome) -> Any:
        return result_of(codec, key, outcome, self.function)


leaf_code.add(Task._invoke.__code__)


def result_of(codec: Codec, key: str, outcome: Outcome, function: Callable[..., Any]) -> Any:
    """The result of an operation that called `function` and ended in `outcome`.

    Raises `TaskError` if it failed, and `CheckpointUnreadable` if the result cannot be read.
    """
    if outcome.failure is not None:
        raise task_error(outcome.failure)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the result of {key!r} is missing ({outcome.kind})")
    return codec.decode(outcome.value, key=key, purpose=Purpose.RESULT, hint=return_hint(function))


class _Decorator(Protocol):
    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...


@overload
def task(
    function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]
) -> Task[P, R]: ...
@overload
def task(function: Callable[P, R], /, **options: Unpack[TaskOptions]) -> Task[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> _Decorator: ...
def task(function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]) -> Any:
    """Make a task of a function, as a decorator (with options or without) or where it is used.

        @task(retries=3)
        async def fetch(url: str) -> dict: ...

        rows = await task(lambda: transform(page))

    The function may be async (it then runs in the event loop of the server) or sync (in a
    thread), a module's own or a closure: a closure travels to its invocation with what it
    captured (cloudpickle). `name` is how the task is known in the app, by default the
    function's own. For the other options see `TaskOptions` and `Options`.

    Raises `ValueError` for an option out of range, and `AppError` unless it is callable.
    """
    if function is None:
        return functools.partial(task, **options)
    if not callable(function):
        raise AppError(f"@task is for functions, not for {function!r}")
    name = options.pop("name", "") or default_name(function)
    tag = checked_tag(options.pop("tag")) if "tag" in options else UNTAGGED
    shared = closure_name(function) if name.startswith("<") else name
    limited = {each: options.pop(each) for each in LimitOptions.__annotations__ if each in options}  # type: ignore[misc]
    rules = rules_of(shared, function, limited) if limited else None
    caching = caching_of(
        shared, function, options.pop("cache", None), options.pop("cache_version", None)
    )
    if caching is not None:
        rules = replace(rules or Rules(shared), cache=caching)
    return Task(function, name, Policy(**cast("Options", options)), tag, rules)


def default_name(function: Callable[..., Any]) -> str:
    """The name of a task or workflow that is given none: its function's."""
    while isinstance(function, functools.partial):
        function = function.func
    name: str = getattr(function, "__name__", type(function).__name__)
    return name


def closure_name(function: Callable[..., Any]) -> str:
    """The recorded name of a function that no app lists: compared on replay, never looked up.

    It has no module, since renaming a file does not change the code in it.
    """
    while isinstance(function, functools.partial):
        function = function.func
    named = function if hasattr(function, "__qualname__") else type(function)
    qualified: str = named.__qualname__
    return qualified.replace("<locals>.", "")


def importable(found: object) -> str | None:
    """The qualified name of a task or workflow, if its module has it under that name; else None.

    It is pickled by that name, so that its code changes reach pickled closures that captured it.
    """
    qualified: str = getattr(found, "__qualname__", "")
    owner: object = sys.modules.get(found.__module__)
    for part in qualified.split("."):
        owner = getattr(owner, part, None)
    return qualified if owner is found else None


_UNUSUAL = inspect.CO_VARARGS | inspect.CO_VARKEYWORDS


def _plain_parameters(
    function: Callable[..., Any],
) -> tuple[tuple[str, ...], tuple[Any, ...]] | None:
    """The names of the parameters and the defaults of the last ones; None unless all are plain."""
    if type(function) is not types.FunctionType or function.__dict__:
        return None
    code = function.__code__
    if code.co_flags & _UNUSUAL or code.co_kwonlyargcount or code.co_posonlyargcount:
        return None
    return code.co_varnames[: code.co_argcount], function.__defaults__ or ()


def _bound_plainly(
    names: tuple[str, ...], defaults: tuple[Any, ...], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any] | None:
    """The result of `Task.arguments`, at a tenth of its cost; None if they do not fit."""
    if not defaults and not kwargs:
        return dict(zip(names, args, strict=True)) if len(names) == len(args) else None
    bound = dict(zip(names, args, strict=False)) | kwargs
    required = len(names) - len(defaults)
    if len(bound) != len(args) + len(kwargs) or not bound.keys() <= set(names):
        return None
    if not bound.keys() >= set(names[:required]):
        return None
    for name, default in zip(names[required:], defaults, strict=True):
        if name in bound and _is_default(bound[name], default):
            del bound[name]
    return bound


def _is_default(value: object, default: object) -> bool:
    try:
        if value is default:
            return True
        same = type(value) is type(default) and bool(value == default)
        return same and text_of(value) == text_of(default)  # (True,) == (1,), and 0.0 == -0.0
    except Exception:  # a value with an __eq__ of its own, such as an array
        return False

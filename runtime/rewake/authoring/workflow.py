"""`@workflow`: an async function whose runs survive the process that they run in."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from rewake.authoring.async_callable import AsyncCallable
from rewake.authoring.child import Children, Existing, OnParentEnd, RunHandle, other_run
from rewake.authoring.hints import signature_of
from rewake.authoring.inputs import Inputs
from rewake.authoring.limits import LimitOptions, Rule, Rules, rules_of
from rewake.authoring.policy import DEFAULT, Policy, RetryOn, Seconds, seconds
from rewake.authoring.task import Task, default_name, importable
from rewake.authoring.time import random
from rewake.authoring.triggers import EventTrigger, triggers_of
from rewake.errors import AppError, NotInARun, UsageError
from rewake.keep import Keep, Span, keep_of
from rewake.replay.again import again_in
from rewake.replay.execution import Execution, current
from rewake.replay.operation import note_made, operation
from rewake.values.fields import field_names
from rewake.values.text import storable, stored_size

if TYPE_CHECKING:
    from rewake.authoring.alerting import Hook
    from rewake.authoring.task import Task
    from rewake.schedules.definition import Definition
    from rewake.webhooks.trigger import Webhook

LONGEST_NAME = 64
"""The most bytes of a workflow's name, as JSON writes it: the header of a run has little room."""

Triggers = str | EventTrigger | Sequence[str | EventTrigger]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


_RETRYING = ("retries", "delay", "multiplier", "max_delay", "jitter", "retry_on")
"""The options that say whether a body that failed begins anew, and when."""


class WorkflowOptions(LimitOptions, total=False):
    """`name`: how the workflow is known in the app. `timeout`: of a whole run. `webhook`: what is
    sent to it, or to them, starts runs. `keep`: for how long runs are kept once they have ended.
    `schedule`: when runs are started. `singleton`, `debounce`, `batch`: what several starts become.
    Limits are as in `LimitOptions`.
    `on_event`: events that start runs. `cancel_on`: events that cancel runs. `on_failure`: a task
    that is called for each that fails. `retries` and what belongs to them: as of a task.
    """

    name: str
    keep: Span | Mapping[str, Span]
    timeout: Seconds | None
    webhook: Webhook | Sequence[Webhook]
    schedule: Definition | Sequence[Definition]
    singleton: Literal["skip", "cancel"] | Rule | None
    debounce: Rule | None
    batch: Rule | None
    on_event: Triggers
    cancel_on: Triggers
    on_failure: Task[Any, Any]
    retries: int
    delay: Seconds
    multiplier: float
    max_delay: Seconds
    jitter: float
    retry_on: RetryOn


class Workflow(AsyncCallable, Generic[P, R_co]):
    """An async function that runs durably. Made by `workflow`.

    Calling it in a run begins a child run; awaiting that gives its result, and raises `TaskError`
    if it failed (`rewake.authoring.child`). Anywhere else, in a task and in plain Python, and by
    `function` also in a run, calling it is calling the function. Calling it in a run raises
    `TypeError` for arguments that do not fit the function, `InvalidInput` for one that is not of
    its type, and `AppError` if the app does not list the workflow.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        name: str,
        timeout: Seconds | None = None,
        webhooks: Sequence[Webhook] = (),
        keep: Keep | None = None,
        schedules: Mapping[str, Definition] = {},
        rules: Rules | None = None,
        on_event: Sequence[EventTrigger] = (),
        cancel_on: Sequence[EventTrigger] = (),
        on_failure: Hook | None = None,
        policy: Policy = DEFAULT,
    ) -> None:
        self._look_like(function)
        self.function = function
        self.name = name
        self.timeout = timeout
        self.webhooks = tuple(webhooks)
        self.keep = keep
        self.schedules = dict(schedules)
        self.rules = rules
        self.on_event = tuple(on_event)
        self.cancel_on = tuple(cancel_on)
        self.on_failure = on_failure
        self.policy = policy

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R_co]:
        execution = current()
        if execution is None:
            return self._lap_by_lap(self.function(*args, **kwargs), args, kwargs)
        self._check_call(execution, args, kwargs)
        child: Any = self._children.call(execution, args, kwargs)
        child.__name__ = child.__qualname__ = self.name
        note_made(child)
        return cast("Coroutine[Any, Any, R_co]", child)

    async def _lap_by_lap(
        self, coro: Coroutine[Any, Any, R_co], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> R_co:
        """Plain Python: the function again, while it continues as new, or fails and is retried."""
        failed, wait = 0, 0.0
        while True:
            try:
                return await coro
            except BaseException as error:
                if (again := again_in(error)) is not None:
                    (args, kwargs), failed, wait = again.arguments, 0, 0.0
                else:
                    failed, chance = failed + 1, random().random()
                    found = self.policy.next(error, failed, elapsed=0, chance=chance)
                    if found is None:
                        raise
                    wait = found
            await asyncio.sleep(wait)
            coro = self.function(*args, **kwargs)

    @operation
    async def start(
        self,
        /,
        *args: Any,
        id: str | None = None,
        if_running: Existing = "attach",
        if_finished: Existing = "attach",
        on_parent_end: OnParentEnd = "leave",
        **kwargs: Any,
    ) -> RunHandle[R_co]:
        """Start a child run that goes on by itself. Returns once it is there.

            handle = await bill.start(order, id=f"bill-{order.number}")

        With an `id`, a run of this id that exists is taken for it (`attach`), or refused
        (`reject`), depending on whether it has ended. `on_parent_end`: what becomes of the run, if
        this has begun it, at the end of this one: it is left alone (`leave`), or asked to cancel
        and waited for (`cancel`). An argument of the function that is called as one of these is
        given by its position.

        Raises what calling the workflow raises, `NotInARun` outside of one, and `TaskError` of the
        type `RunConflict` if a run of this id is refused, or has other arguments.
        """
        execution = current()
        if execution is None:
            told = "start() needs a run: elsewhere a client starts runs, and a call runs in place"
            raise NotInARun(told)
        self._check_call(execution, args, kwargs)
        other = other_run(id, if_running, if_finished, on_parent_end)
        return await self._children.start(execution, args, kwargs, other)

    def _check_call(
        self, execution: Execution, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._children.check(execution)
        self.arguments(self.named(args, kwargs))

    @functools.cached_property
    def _task(self) -> Task[..., Any]:
        return Task(self.function, self.name, Policy())

    @functools.cached_property
    def _children(self) -> Children:
        return Children(self, self._task)

    def __repr__(self) -> str:
        return f"<workflow {self.name}>"

    def __reduce__(self) -> str | tuple[Any, ...]:
        return importable(self) or (Workflow, (self.function, self.name, self.timeout))

    def call(self, arguments: Mapping[str, Any]) -> Coroutine[Any, Any, R_co]:
        """Call the function with arguments by name, and with defaults of its own.

        A body may change a list that is a default; the next run, or a replay, must not see that.
        """
        named = {p.name: _copied(p.default) for p in self._changeable} | dict(arguments)
        positional: list[Any] = []
        for p in self._positional_only:
            if p.name not in named and p.default is p.empty:
                break  # what is missing, Python says
            positional.append(named.pop(p.name, p.default))
        return cast("Coroutine[Any, Any, R_co]", self.function(*positional, **named))

    def named(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call by name. Raises `TypeError` as the call would, `UsageError`."""
        signature = signature_of(self.function)
        if signature is None:
            if args:
                raise UsageError(f"{self!r} has no names for its arguments: give them by name")
            return dict(kwargs)
        found: dict[str, Any] = {}
        for name, value in signature.bind(*args, **kwargs).arguments.items():
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL:
                raise UsageError(f"an input has names only, and *{name} of {self!r} has none")
            found |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        return found

    @functools.cached_property
    def _parameters(self) -> Sequence[inspect.Parameter]:
        signature = signature_of(self.function)
        return tuple(signature.parameters.values()) if signature else ()

    @functools.cached_property
    def _changeable(self) -> Sequence[inspect.Parameter]:
        return [p for p in self._parameters if _is_changeable(type(p.default))]

    @functools.cached_property
    def _positional_only(self) -> Sequence[inspect.Parameter]:
        return [p for p in self._parameters if p.kind is p.POSITIONAL_ONLY]

    def arguments(self, given: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """The input of a run as the arguments of the function, converted by its type hints.

        `strict`: fields that a class does not have are refused, too.

        Raises:
            InvalidInput: an argument is missing, unknown, or does not fit; `field` names it.
        """
        return self.inputs.convert(given, strict=strict)

    def recorded(self, given: Mapping[str, Any], *, strict: bool = True) -> dict[str, Any]:
        """The input as it is kept: as it was given, if it becomes the same on every replay.

        A field may have a default that is new each time, such as an id; then what it became now
        is kept. Raises as `arguments` does.
        """
        made = self.arguments(given, strict=strict)
        with suppress(Exception):  # an __eq__ of the user's own
            if made == given or made == self.arguments(given, strict=strict):
                return dict(given)
        return made

    @functools.cached_property
    def inputs(self) -> Inputs:
        """What a run takes. Raises `AppError` for a type that no input can be converted to."""
        return Inputs(self.name, self.function)


def _webhooks(given: object) -> Sequence[Webhook]:
    if given == ():
        return ()
    from rewake.webhooks.trigger import Webhook  # noqa: PLC0415 - few workflows have one

    found = [given] if isinstance(given, Webhook) else given
    if not isinstance(found, (list, tuple)) or not all(isinstance(e, Webhook) for e in found):
        raise AppError("webhook= is a webhook(...) of rewake.webhooks, or a list of them")
    return found


def _schedules(given: object, name: str) -> Mapping[str, Definition]:
    if given == ():
        return {}
    from rewake.authoring.scheduling import definitions_of  # noqa: PLC0415 - few have one

    return definitions_of(given, name)


def _hook(given: object) -> Hook | None:
    if given is None:
        return None
    from rewake.authoring.alerting import hook_of  # noqa: PLC0415 - few have one

    return hook_of(given)


def _is_changeable(kind: type) -> bool:
    return kind in (list, dict, set, bytearray) or field_names(kind) is not None


def _copied(default: Any) -> Any:
    with suppress(Exception):  # what cannot be copied is hardly what a body changes
        return copy.deepcopy(default)
    return default


class _Decorator(Protocol):
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Workflow[P, R]: ...


@overload
def workflow(
    function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[WorkflowOptions]
) -> Workflow[P, R]: ...
@overload
def workflow(**options: Unpack[WorkflowOptions]) -> _Decorator: ...
def workflow(
    function: Callable[..., Any] | None = None, /, **options: Unpack[WorkflowOptions]
) -> Any:
    """Make a workflow of an async function: `@workflow`, or `@workflow(timeout=3600)`.

    `timeout` (seconds, or a `timedelta`) bounds a whole run, its sleeps included, or with `retries`
    each attempt: a body that fails begins anew then, after a wait as that of a task. `name` is how
    it is known in the app and in URLs, by default the function's own; `webhook` is one of
    `rewake.webhooks`, or a list of them. `keep` (seconds, a `timedelta`, or a text: `"30d"`; None:
    for ever) is how long runs are kept once they have ended, of all of them or by state:
    `keep={"failed": None}`; with `"30d+archive"` they are archived before they are removed.
    `schedule` is `cron(...)` or `every(...)`, or a list of them: when runs are started.
    `limits`, `throttle`, `singleton`, `debounce` and `batch` say how many there are at once, how
    often one begins, and what several starts become (`rewake.authoring.limits`).
    `on_event` and `cancel_on` are names of events, an `event(...)`, or a list of these: each starts
    a run, or cancels the runs whose arguments it is about.
    `on_failure` is a task that is called with an `Alert` for each run that fails.

    Raises `AppError` unless the function is async and its name is short enough, or for a limit that
    cannot be, and `ValueError` for a bad timeout, `keep`, or number of a limit.
    """
    if function is None:
        return functools.partial(workflow, **options)
    if not _is_async_function(function):
        raise AppError(f"@workflow is for async functions; {function!r} is not one")
    timeout = options.get("timeout")
    if timeout is not None and seconds(timeout) <= 0:
        raise ValueError("timeout must be more than 0")
    name = options.get("name") or default_name(function)
    if (size := stored_size(storable(name))) > LONGEST_NAME:
        told = f"a workflow's name has at most {LONGEST_NAME} bytes of UTF-8, and this one {size}"
        raise AppError(f"{told}: {name[:40]!r}…; give it a shorter name=")
    keep = keep_of(options["keep"]) if "keep" in options else None
    on_event = triggers_of("on_event", options.get("on_event", ()))
    cancel_on = triggers_of("cancel_on", options.get("cancel_on", ()))
    for each in cancel_on:
        each.check_parameters(name, function)
    webhooks = _webhooks(options.get("webhook", ()))
    schedules = _schedules(options.get("schedule", ()), name)
    rules, hook = rules_of(name, function, options), _hook(options.get("on_failure"))
    policy = Policy(**{name: options[name] for name in _RETRYING if name in options})  # type: ignore[literal-required]
    return Workflow(
        function, name, timeout, webhooks, keep, schedules, rules, on_event, cancel_on, hook, policy
    )


def _is_async_function(function: object) -> bool:
    return inspect.iscoroutinefunction(function) and not isinstance(function, AsyncCallable)

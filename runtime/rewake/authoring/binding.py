"""`bind`: one call of a task that is approved before it is made, as an agent's tool calls are.

    call = bind(refund, order="o1", amount=5)
    answer = await approval("refund", binds=call, approvers=["ann@example.com"])
    if answer.approved:
        receipt = await call.run(answer)

- **The approval covers this call and nothing else.** The digest of its arguments is recorded with
  the approval and compared on replay, as that of a task is; and once more before the call begins,
  for a body may change an object that it has bound.
- **It is taken once.** A second `run` is refused. If the call has failed for good and the run ends
  by that, `rewake runs retry` goes back to before the decision: a retry asks again. (Attempts of
  the one call, by the policy of its task or after a death, are the same call.)
- **People see what they approve**: the call, and a form of those arguments that can be edited. What
  is edited is checked by the types of the task's parameters, and is what is then called. What is
  marked as secret is neither recorded here nor shown, and so cannot be edited.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Mapping
from typing import Any, Generic, ParamSpec, Protocol, TypeVar

import msgspec

from rewake.authoring.conversion import Converters
from rewake.authoring.forms import recorded_form
from rewake.authoring.hints import hints_of, signature_of
from rewake.authoring.marking import hidden_in, hidden_in_value
from rewake.authoring.task import Task, result_of
from rewake.errors import InvalidInput, NotInARun, RewakeError, TaskError, UsageError
from rewake.kinds import Purpose
from rewake.records import Outcome, Value
from rewake.replay.execution import Execution, current
from rewake.replay.operation import OpFuture, operation
from rewake.replay.program import Codec
from rewake.values.comparing import first_difference
from rewake.values.digests import digest
from rewake.values.redaction import REDACTED, redacted
from rewake.values.schemas import misfits

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

_LONGEST = 2_000
"""Characters of an argument that is shown and cannot be edited."""
_ROOM = 32_768
"""Bytes of all arguments that can be edited: half of what a form may have."""
_SCALARS = (str, int, float, bool)
_EDITABLE = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


class Answer(Protocol):
    """The decision on an approval."""

    @property
    def approved(self) -> bool:
        """Whether it was approved."""

    @property
    def value(self) -> Any:
        """The arguments as edited; None: as they were bound."""

    @property
    def comment(self) -> str | None:
        """What who decided said to it."""


class Call(Generic[R_co]):
    """One call of a task, for `approval(..., binds=…)`. Made by `bind`."""

    def __init__(
        self, task: Task[Any, R_co], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._task = task
        self._args = args
        self._kwargs = kwargs
        self._form = _Form(task, args, kwargs)
        self._digest = self._now()
        self._wait: OpFuture | None = None
        self._decided_at = 0
        self._is_asked = self._is_taken = False

    def __repr__(self) -> str:
        return f"<call of {self._task.name}>"  # its arguments may be secret

    @operation
    async def run(self, answer: Answer) -> R_co:
        """Make the call as it was approved, with edited arguments if there are any.

        Raises:
            NotInARun: outside a run.
            UsageError: this answer does not approve this call, or was taken already.
            TaskError: the call has failed.
        """
        execution = current()
        if execution is None:
            raise NotInARun("an approved call needs a run; in a test, call the task itself")
        if execution.loop.dead:
            return await execution.loop.create_future()  # type: ignore[no-any-return]
        self._check(answer)
        self._is_taken = True
        args, kwargs = self._args, self._kwargs
        if answer.value is not None:
            args, kwargs = self._form.edited(answer.value)
        resolve = functools.partial(self._resolve, execution)
        return await self._task.request(execution, args, kwargs, resolve=resolve)  # type: ignore[no-any-return]

    def _check(self, answer: Answer) -> None:
        wait, name = self._wait, self._task.label
        if wait is None or not wait.done() or wait.cancelled() or wait.result() != answer:
            raise UsageError(f"this answer is none to an approval that binds this call of {name!r}")
        if not answer.approved:
            raise UsageError(f"the call of {name!r} was not approved: ask `answer.approved` first")
        if self._is_taken:
            raise UsageError(f"the call of {name!r} was made: an approval is taken once, ask again")
        if self._now() != self._digest:
            raise UsageError(f"the arguments of {name!r} were changed after they were approved")

    def _now(self) -> str:
        """The digest of its arguments as they are now."""
        return digest(self._task.arguments(self._args, self._kwargs))

    def _resolve(self, execution: Execution, key: str, outcome: Outcome) -> Any:
        try:
            return result_of(execution.codec, key, outcome, self._task.function)
        except TaskError as error:
            assert self._wait is not None
            execution.origins.mark(error, self._wait.op.key, event=self._decided_at)
            raise

    # --- what its approval asks ----------------------------------------------------------------

    def taken(self) -> dict[str, Any] | None:
        """Let one approval bind it: the form of the arguments that can be edited, filled in.

        Raises `UsageError` for a second one.
        """
        if self._is_asked:
            raise UsageError(f"an approval binds this call of {self._task.label!r}: bind another")
        self._is_asked = True
        return self._form.schema

    def wait_for(self, execution: Execution, future: asyncio.Future[Any]) -> None:
        """Wait for the decision of the approval that binds it."""
        if isinstance(future, OpFuture):
            self._wait = future
            future.add_done_callback(lambda _: self._note_decision(execution))

    def _note_decision(self, execution: Execution) -> None:
        self._decided_at = execution.origins.event

    def digest(self, codec: Codec) -> str:
        """The digest, in one run, of the task's name and the arguments that it was bound with."""
        return codec.digest({"task": self._task.name, "arguments": self._digest})

    @property
    def shown(self) -> dict[str, Any]:
        """The call as it is recorded with its approval, and shown."""
        return {"task": self._task.name, "arguments": self._form.arguments}

    def compare(self, codec: Codec, key: str, recorded: Value) -> str | None:
        """Where the call that an approval was recorded with differs from this one."""
        asked = codec.decode(recorded, key=key, purpose=Purpose.APPROVAL).get("binds")
        if not isinstance(asked, Mapping) or asked.get("task") != self._task.name:
            return None
        # Empty would say that nothing differs, and the digest says that something does.
        return first_difference(asked["arguments"], self._form.arguments) or None


def bind(task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
    """One call of a task with these arguments, which `approval(..., binds=…)` asks for.

    Nothing is called yet: `await call.run(answer)` does that, once.

    Raises:
        UsageError: it is no task.
        TypeError: the arguments do not fit its function.
    """
    if not isinstance(task, Task):
        raise UsageError(f"what is bound is a @task, and not {task!r}")
    return Call(task, args, kwargs)


def call_text(binds: Mapping[str, Any], edited: Mapping[str, Any] | None = None) -> str:
    """The call that an approval binds, as it is shown to people, perhaps with edited arguments."""
    arguments = {**binds["arguments"], **(edited or {})}
    given = (f"{name}={_json(value)}" for name, value in arguments.items())
    return f"{binds['task']}({', '.join(given)})"


class _Form:
    """The arguments of a call: as they are shown, as a form, and as what was filled in.

    A form has a parameter if its type is one that JSON becomes, and if a page gives back what it
    shows. The others are shown, and stay; so are those for which the form has no more room.
    """

    def __init__(self, task: Task[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        task.arguments(args, kwargs)  # raises what calling it would
        signature = signature_of(task.function)
        self._bound = None if signature is None else signature.bind(*args, **kwargs)
        hints = hints_of(task.function)
        self.arguments: dict[str, Any] = {}
        self._fields: dict[str, tuple[Any, Any]] = {}
        self._room = _ROOM
        if self._bound is None:
            self.arguments = {"args": _shown(args, None), "kwargs": _shown(kwargs, None)}
        if self._bound is not None and signature is not None:
            self._bound.apply_defaults()
            for name, value in self._bound.arguments.items():
                hint = hints.get(name, type(value) if type(value) in _SCALARS else Any)
                is_editable = signature.parameters[name].kind in _EDITABLE
                self._add(name, value, hint, is_editable=is_editable)

    def _add(self, name: str, value: Any, hint: Any, *, is_editable: bool) -> None:
        self.arguments[name] = _shown(value, hint)
        size = len(_json(self.arguments[name]))
        if size > self._room or _hidden(value, hint):
            return
        try:
            plain = msgspec.to_builtins(value, str_keys=True)
            made = recorded_form(_struct({name: hint})) or {}
            fits = not misfits(made, {name: plain}) and _comes_back(plain)
            Converters().of(hint)(plain, name, True)
        except (RewakeError, TypeError, ValueError, msgspec.MsgspecError):
            return
        if fits and is_editable:
            self._room -= size
            self._fields[name] = (hint, plain)

    @functools.cached_property
    def schema(self) -> dict[str, Any] | None:
        """The form, filled in; None if nothing can be edited."""
        if not self._fields:
            return None
        made = recorded_form(_struct({name: hint for name, (hint, _) in self._fields.items()}))
        assert made is not None
        made["default"] = {name: plain for name, (_, plain) in self._fields.items()}
        for name, (_, plain) in self._fields.items():
            if isinstance(plain, str) and "\n" in plain:
                made["properties"][name]["x-multiline"] = True
        return made

    def edited(self, value: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with what was edited. Raises `InvalidInput`."""
        if self._bound is None or not isinstance(value, Mapping):
            raise InvalidInput("the edited arguments are not those of the call", field="value")
        for name, given in value.items():
            if name not in self._fields:
                raise InvalidInput(f"the argument {name!r} cannot be edited any more", field=name)
            hint, plain = self._fields[name]
            made = Converters().of(hint)(given, f"value.{name}", True)
            if given != plain and not _is_same(made, self._bound.arguments[name]):
                self._bound.arguments[name] = made
        return self._bound.args, dict(self._bound.kwargs)


def _struct(hints: Mapping[str, Any]) -> type[msgspec.Struct]:
    return msgspec.defstruct("Arguments", list(hints.items()), forbid_unknown_fields=True)


def _comes_back(plain: Any) -> bool:
    """Whether a page gives it back as it was: a browser changes ends of lines, and a list of texts
    is shown one a line.
    """
    if isinstance(plain, str):
        return "\r" not in plain and not plain.startswith("\n")
    if isinstance(plain, Mapping):
        return all(map(_comes_back, plain.values()))
    if isinstance(plain, list):
        texts = [each for each in plain if isinstance(each, str)]
        return all(each and each == each.strip() and "\n" not in each for each in texts) and all(
            map(_comes_back, plain)
        )
    return True


def _is_same(one: Any, other: Any) -> bool:
    try:
        return type(one) is type(other) and bool(one == other)
    except Exception:  # an __eq__ of the user's own
        return False


def _hidden(value: Any, hint: Any) -> tuple[str, ...]:
    """The secret parts of an argument: by the type of its parameter, or by its own."""
    return (*hidden_in(hint), *hidden_in_value(value))


def _shown(value: Any, hint: Any) -> Any:
    """An argument as JSON data, for people to look at."""
    hidden = _hidden(value, hint)
    try:
        plain = msgspec.json.encode(msgspec.to_builtins(value, str_keys=True))
        return msgspec.json.decode(redacted(msgspec.Raw(plain), hidden))
    except Exception:  # of any type
        text = REDACTED if hidden else repr(value)
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()

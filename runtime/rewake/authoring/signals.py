"""`wait_for_signal`, `signals`, `updates`: what a workflow is sent by name while it runs.

A signal is kept from the moment it was accepted until the workflow asks for one of its name, so it
may come before that. Each wait is an operation of its own and gets one signal: the first that was
sent and not consumed. Its type is recorded, so that whoever sends is told at once what does not
fit an open wait; what was sent before that and does not fit is set aside, and the wait goes on.

An update is a signal that is answered. The answer is an operation that has ended as soon as it is
asked for: it costs no commit of its own, and is told once it is committed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any, Generic, TypeVar, overload

import msgspec

from rewake.authoring.callback import fitted
from rewake.authoring.conversion import Converter, Converters, as_it_is
from rewake.authoring.marking import hidden_in, hidden_in_value
from rewake.authoring.policy import Seconds, positive
from rewake.errors import CheckpointUnreadable, InvalidInput, NotInARun, StuckError, UsageError
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Outcome, Value
from rewake.replay.execution import Execution, current
from rewake.replay.operation import operation
from rewake.replay.program import Codec
from rewake.values.data import encoded
from rewake.values.pointers import pointer

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")
_NAMES = "1 to 64 of a-z, A-Z, 0-9, '-', '_', '.' and ':', a letter or digit first"


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of a wait: the type of what it takes, encoded, and whether it answers."""

    type: Value | None = None
    answers: bool = False

    def kind(self, codec: Codec, key: str) -> Any:
        """The type of what it takes, None for any. Raises `CheckpointUnreadable`."""
        return (
            None if self.type is None else codec.decode(self.type, key=key, purpose=Purpose.SIGNAL)
        )


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a workflow answered to an update: a value, or why not."""

    accepted: bool
    value: Any = None
    reason: str = ""


class Wait:
    """A wait for a signal: what fits it, and once it has ended, by which signal."""

    __slots__ = ("_codec", "_convert", "_name", "signal")

    def __init__(self, codec: Codec, name: str, convert: Converter) -> None:
        self._codec = codec
        self._name = name
        self._convert = convert
        self.signal = ""

    def refusal(self, signal: str, value: Value) -> str:
        """Why the value of this signal does not fit; empty if it does."""
        try:
            self._read(signal, value)
        except InvalidInput as error:
            return str(error)
        return ""

    def resolve(self, key: str, outcome: Outcome) -> Any:
        """What the signal said, as the type that it must have."""
        if outcome.kind is OutcomeKind.TIMEOUT or outcome.value is None:
            raise TimeoutError(f"no signal {self._name!r} came in time")
        try:
            return self._read(self.signal, outcome.value)
        except InvalidInput as error:
            told = f"{key}: the signal does not fit the type that it must have now: {error}"
            raise CheckpointUnreadable(told) from error

    def _read(self, signal: str, value: Value) -> Any:
        given = self._codec.decode(value, key=signal, purpose=Purpose.SIGNAL)
        return fitted(self._convert, given)


class Update(Generic[T_co]):
    """An update that a workflow was sent, which it answers once. `value` is what was sent."""

    def __init__(self, execution: Execution, name: str, signal: str, value: T_co) -> None:
        self.value = value
        self.id = signal
        """The id that its sender gave it."""
        self._execution = execution
        self._name = name
        self._is_answered = False

    def accept(self, value: Any = None) -> None:
        """Answer that it is done, with a value (JSON data, also of dataclasses and models).

        A plain call, of the body. It is told once the workflow has written it down, as it next
        waits.

        Raises `UsageError` if it was answered before, or in a step, or the value cannot be sent as
        JSON.
        """
        hidden = tuple(pointer("value") + path for path in hidden_in_value(value))
        self._answer(Answer(True, msgspec.json.decode(encoded(value))), hidden)

    def reject(self, reason: str) -> None:
        """Answer that it is not done, and why; its sender sees an `UpdateRejected`.

        Raises `UsageError` if it was answered before.
        """
        self._answer(Answer(False, reason=str(msgspec.json.decode(encoded(reason)))))

    def _answer(self, answer: Answer, hidden: tuple[str, ...] = ()) -> None:
        execution = self._execution
        if current() is not execution:  # an attempt that is replayed would answer nothing
            told = "is answered in the body of its workflow, not in a step or after its end"
            raise UsageError(f"the update {self._name!r} {told}")
        if self._is_answered:
            raise UsageError(f"the update {self._name!r} was answered before")
        self._is_answered = True
        told = msgspec.to_builtins(answer)
        execution.request(
            Kind.ANSWER,
            f"{self._name}.answer",
            name=self.id,
            args=lambda key: execution.codec.encode(
                told, key=key, purpose=Purpose.SIGNAL, hidden=hidden
            ),
        )

    def __repr__(self) -> str:
        return f"<update {self._name} {self.id}>"


@overload
async def wait_for_signal(name: str, /, *, type: type[T], timeout: Seconds | None = None) -> T: ...
@overload
async def wait_for_signal(
    name: str, /, *, type: Any = None, timeout: Seconds | None = None
) -> Any: ...
@operation
async def wait_for_signal(name: str, /, *, type: Any = None, timeout: Seconds | None = None) -> Any:
    """Suspend until a signal of this name comes, and return what it says.

        payment = await wait_for_signal("paid", type=Payment, timeout=timedelta(days=3))

    One that came before is taken at once: the first that was sent and not consumed. `type`: what
    it says must fit (whatever `task` and `workflow` take as JSON); without it is JSON data.
    `timeout`: seconds, or a `timedelta`; then it raises `TimeoutError`. `name`: 1 to 64 letters,
    digits, `-`, `_`, `.` and `:`.

    Raises:
        NotInARun: outside a run.
        ValueError: the name cannot be one, or the timeout is not positive.
        AppError: no JSON can become a `type`.
    """
    return await _begun(name, type, timeout, answers=False)[0]


@overload
def signals(name: str, /, *, type: type[T], timeout: Seconds | None = None) -> AsyncIterator[T]: ...
@overload
def signals(
    name: str, /, *, type: Any = None, timeout: Seconds | None = None
) -> AsyncIterator[Any]: ...
def signals(
    name: str, /, *, type: Any = None, timeout: Seconds | None = None
) -> AsyncIterator[Any]:
    """Each signal of this name, in the order in which they were sent; it does not end by itself.

        async for line in signals("chat", type=str):
            ...

    `timeout`: for how long one may wait for the next. Each is a wait of its own, as of
    `wait_for_signal`, which raises the same.
    """
    _checked(name, timeout)
    return _Signals(name, type, timeout)


@overload
def updates(
    name: str, /, *, type: type[T], timeout: Seconds | None = None
) -> AsyncIterator[Update[T]]: ...
@overload
def updates(
    name: str, /, *, type: Any = None, timeout: Seconds | None = None
) -> AsyncIterator[Update[Any]]: ...
def updates(
    name: str, /, *, type: Any = None, timeout: Seconds | None = None
) -> AsyncIterator[Update[Any]]:
    """Each update of this name, in the order in which they were sent, to be answered.

        async for request in updates("change", type=Change):
            if fits(request.value):
                request.accept(total)
            else:
                request.reject("there is no room")

    Whoever sent it waits for the answer, and may ask for it again by its id. What the workflow has
    not answered as it ends is told as that. Else as `signals`.
    """
    _checked(name, timeout)
    return _Updates(name, type, timeout)


class _Signals(AsyncIterator[Any]):
    """No generator: one that is left unfinished would be closed at any time, by the collector."""

    def __init__(self, name: str, type: Any, timeout: Seconds | None) -> None:
        self._about = (name, type, timeout)

    async def __anext__(self) -> Any:
        return await _begun(*self._about, answers=False)[0]


class _Updates(_Signals):
    async def __anext__(self) -> Update[Any]:
        future, wait, execution = _begun(*self._about, answers=True)
        value = await future
        return Update(execution, self._about[0], wait.signal, value)


def _begun(
    name: str, kind: Any, timeout: Seconds | None, *, answers: bool
) -> tuple[Any, Wait, Execution]:
    """The future of a wait that is asked for now."""
    execution = current()
    if execution is None:
        raise NotInARun(f"waiting for the signal {name!r} needs a run; in a test, supply its value")
    limit = _checked(name, timeout)
    wait = Wait(execution.codec, name, as_it_is if kind is None else Converters().of(kind))

    def args(key: str) -> Value:
        return _recorded(execution.codec, key, kind, answers)

    future = execution.request(
        Kind.SIGNAL,
        name,
        due=None if limit is None else execution.machine + limit,
        args=args if kind is not None or answers else None,
        resolve=wait.resolve,
        work=wait,
    )
    return future, wait, execution


def _checked(name: str, timeout: Seconds | None) -> int | None:
    """The time-out in milliseconds. Raises `ValueError`."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"the name of a signal is {_NAMES}, and not {name!r}")
    return positive("timeout", timeout)


def check_signal_name(name: str) -> None:
    """Raise `InvalidInput` unless a signal can have this name."""
    if not _NAME.fullmatch(name):
        raise InvalidInput(f"the name of a signal is {_NAMES}", field="name")


def _recorded(codec: Codec, key: str, kind: Any, answers: bool) -> Value:
    kept = None if kind is None else codec.encode(kind, key=key, purpose=Purpose.SIGNAL)
    asked = msgspec.json.encode(Asked(kept, answers))
    return codec.encode(msgspec.json.decode(asked), key=key, purpose=Purpose.SIGNAL)


def asked_of(codec: Codec, key: str, args: Value | None) -> Asked:
    """What is recorded of a wait. Raises `CheckpointUnreadable`."""
    if args is None:
        return Asked()
    return _as(Asked, codec.decode(args, key=key, purpose=Purpose.SIGNAL), key)


def answer_of(codec: Codec, key: str, args: Value) -> Answer:
    """What was answered to an update, at this key. Raises `CheckpointUnreadable`."""
    return _as(Answer, codec.decode(args, key=key, purpose=Purpose.SIGNAL), key)


def _as(kind: type[T], found: Any, key: str) -> T:
    try:
        return msgspec.json.decode(msgspec.json.encode(found), type=kind)
    except msgspec.MsgspecError as error:
        raise CheckpointUnreadable(f"{key}: what is recorded of a signal: {error}") from error


def misfit(asked: Asked, codec: Codec, key: str, value: Any) -> InvalidInput | None:
    """Why a value does not fit what a wait asked for; None if it does, or nobody here can tell."""
    try:
        kind = asked.kind(codec, key)
        if kind is not None:
            fitted(Converters().of(kind), value)
    except InvalidInput as error:
        field = (f"value.{error.field}" if error.field else "value").replace(".[", "[")
        told = str(error).removeprefix(f"{error.field}: ")
        return InvalidInput(f"{field}: {told}", field=field)
    except StuckError:  # a type that this process does not have: the run's own will tell
        return None
    return None


def hidden_parts(asked: Asked, codec: Codec, key: str) -> tuple[str, ...]:
    """The secret parts of what fits a wait, as far as this process knows its type."""
    try:
        return hidden_in(asked.kind(codec, key))
    except StuckError:
        return ()

"""`callback`: suspend until a machine calls.

A callback is open, and its time counts, from the call of `callback()`, so that its address can be
handed on before it is awaited (`rewake.authoring.waiting`). It is one operation; the first of these
ends it:

    POST <url>            with the result, checked against the type that it must have
    POST <url>/fail       with an error, which the workflow sees as a `TaskError`
    its time is over      `timeout` after it was asked for: a `TimeoutError`
    nothing is heard      for `heartbeat_timeout`, counted from `POST <url>/heartbeat`: the same
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Generator
from typing import Any, Generic, TypeVar, overload

import msgspec

from rewake.authoring.conversion import Converter, Converters, as_it_is
from rewake.authoring.linking import LinkFacts, check_address, link_of, new_facts, url_of
from rewake.authoring.policy import Seconds, positive
from rewake.authoring.waiting import OpenWait
from rewake.errors import CheckpointUnreadable, InvalidInput, NotInARun, StuckError
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Millis, Outcome, Value
from rewake.replay.execution import Execution, current
from rewake.replay.operation import OpFuture
from rewake.replay.program import Codec
from rewake.signing.links import LinkUse
from rewake.values.drawn import given_in_full
from rewake.values.failures import task_error
from rewake.values.sealing import readable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of a callback: the facts of its link, and what may be sent to it.

    `silence`: how long nothing may be heard of it. `result`: the type of its result, encoded.
    """

    link: LinkFacts
    silence: Millis | None = None
    result: Value | None = None

    def converter(self, codec: Codec, key: str) -> Converter:
        """What turns JSON data into the result. Raises `CheckpointUnreadable` if nothing can."""
        return as_it_is if self.result is None else Converters().of(self.kind(codec, key))

    def kind(self, codec: Codec, key: str) -> Any:
        """The type of its result, None for any. Raises `CheckpointUnreadable`."""
        if self.result is None:
            return None
        return codec.decode(self.result, key=key, purpose=Purpose.CALLBACK)


class Callback(OpenWait, Generic[T_co]):
    """A callback that a workflow waits for. Made by `callback`; awaiting it gives its result."""

    def __init__(
        self, execution: Execution, name: str, future: asyncio.Future[Any], asked: Asked | None
    ) -> None:
        super().__init__(execution, future, f"the callback {name!r}")
        self._asked = asked

    @property
    def url(self) -> str:
        """The address that a machine calls: the same on every replay, for this one callback."""
        if self._asked is None:
            return ""  # a dropped instance cleans up, and nothing comes of what it does
        facts, key = self._asked.link, self._key
        link = link_of(facts, LinkUse.CALLBACK, self._execution.run, key)
        return url_of(self._execution, facts, link)

    def __await__(self) -> Generator[Any, Any, T_co]:
        return self._wait()

    @property
    def _key(self) -> str:
        return self._future.op.key if isinstance(self._future, OpFuture) else ""

    def __repr__(self) -> str:
        return f"<callback {self._key}>"  # not its address, which is secret


@overload
def callback(
    name: str = "callback",
    /,
    *,
    result: type[T],
    timeout: Seconds | None = None,
    heartbeat_timeout: Seconds | None = None,
) -> Callback[T]: ...
@overload
def callback(
    name: str = "callback",
    /,
    *,
    result: Any = None,
    timeout: Seconds | None = None,
    heartbeat_timeout: Seconds | None = None,
) -> Callback[Any]: ...
def callback(
    name: str = "callback",
    /,
    *,
    result: Any = None,
    timeout: Seconds | None = None,
    heartbeat_timeout: Seconds | None = None,
) -> Callback[Any]:
    """Ask for a call by a machine: hand its `url` on, then await it.

        wait = callback("payment", result=Payment, timeout=timedelta(hours=1))
        await order_payment(120, wait.url)
        payment = await wait

    A POST of JSON to the `url` is the result, of the type `result` if one is given; a POST to
    `<url>/fail` raises `TaskError`. It may come before it is awaited. With `heartbeat_timeout`, it
    must come, or a POST to `<url>/heartbeat`, before that time has passed since the last one.
    Durations are seconds, or a `timedelta`.

    Awaiting it raises `TimeoutError` once `timeout` is over, or nothing was heard for too long.
    Where `REWAKE_URL` is not set, the run waits for a process that knows it.

    Raises:
        NotInARun: outside a run.
        ValueError: a duration is not positive.
        AppError: no JSON can become a `result`.
    """
    execution = current()
    if execution is None:
        raise NotInARun("callback() needs a run; in a test, supply the result instead")
    limit = positive("timeout", timeout)
    silence = positive("heartbeat_timeout", heartbeat_timeout)
    convert = as_it_is if result is None else Converters().of(result)
    future = execution.request(
        Kind.CALLBACK,
        name,
        due=None if limit is None else execution.machine + limit,
        args=functools.partial(_encode, execution, result, silence),
        resolve=functools.partial(_resolve, execution.codec, convert, name),
    )
    return _made(execution, name, future)


def _made(execution: Execution, name: str, future: asyncio.Future[Any]) -> Callback[Any]:
    """The callback of an operation that was just asked for: what is recorded of it wins."""
    if not isinstance(future, OpFuture) or execution.error is not None:
        return Callback(execution, name, execution.loop.create_future(), None)
    op = future.op
    assert op.args is not None
    try:
        asked = asked_of(execution.codec, op.key, op.args)
    except StuckError as error:
        execution.halt(error)
        raise
    check_address(execution, asked.link)
    op.silence = asked.silence
    future.add_done_callback(_seen)
    made: Callback[Any] = Callback(execution, name, future, asked)
    made._stand_alone()
    return made


def _seen(future: asyncio.Future[Any]) -> None:
    """Take note of how it ended: one that nobody awaits is warned of by itself."""
    if not future.cancelled():
        future.exception()


def asked_of(codec: Codec, key: str, args: Value) -> Asked:
    """What is recorded of a callback. Raises `CheckpointUnreadable`."""
    found = codec.decode(args, key=key, purpose=Purpose.CALLBACK)
    try:
        return msgspec.json.decode(msgspec.json.encode(found), type=Asked)
    except msgspec.MsgspecError as error:
        raise CheckpointUnreadable(f"{key}: what the callback is asked with: {error}") from error


def _encode(execution: Execution, result: Any, silence: Millis | None, key: str) -> Value:
    codec, kind = execution.codec, None
    if result is not None:
        kind = codec.encode(result, key=key, purpose=Purpose.CALLBACK)
    asked = msgspec.json.encode(Asked(new_facts(execution, key), silence, kind))
    return codec.encode(msgspec.json.decode(asked), key=key, purpose=Purpose.CALLBACK)


def _resolve(codec: Codec, convert: Converter, name: str, key: str, outcome: Outcome) -> Any:
    failure = outcome.failure
    if outcome.kind is OutcomeKind.TIMEOUT:
        told = f"the time of the callback {name!r} is over"
        raise TimeoutError(told if failure is None else readable(failure.message, key))
    if failure is not None:
        raise task_error(failure)
    if outcome.value is None:
        raise CheckpointUnreadable(f"the result of {key!r} is missing ({outcome.kind})")
    given = codec.decode(outcome.value, key=key, purpose=Purpose.CALLBACK)
    try:
        return fitted(convert, given)
    except InvalidInput as error:
        told = f"{key}: what was sent does not fit the type that it must have now: {error}"
        raise CheckpointUnreadable(told) from error


def fitted(convert: Converter, given: Any) -> Any:
    """What was sent, as the type that it must have. Raises `InvalidInput`; `field` is its part.

    A field that the type does not have is passed over: who sends may add to it at any time. One
    whose default is drawn must be there (`values/drawn.py`).
    """
    try:
        return given_in_full(convert(given, "", False), given)
    except InvalidInput as error:
        told = str(error).removeprefix(": ").removeprefix(".")
        raise InvalidInput(told, field=error.field.removeprefix(".")) from error

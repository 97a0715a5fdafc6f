"""Events: `publish` one, and `wait_for_event`.

An event is told to the whole app: each run that waits for it gets it. A wait gets the first event
of its name, with the values at the fields that its `where` says, that was published since its run
began and that no earlier wait of the run for just these has had. So a run that is busy when an
event comes misses nothing, as long as events are kept, and a loop gets each event once, in order.

How a wait says which events these are: by a place in the order of events from which on none was
missed (`since`), and the marks of those from there on that were had. Both are made of nothing but
what the body has observed, and recorded with the wait. Each event that is observed moves the place
on, to before the moment at which that wait was asked for, or the event's own place if that is
earlier: the look that found it found the first one that was there. What comes into the index later
than that has a later place, by at most `SLACK` less.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, overload

import msgspec

from rewake.authoring.context import Reach, task_context
from rewake.authoring.conversion import Converter, Converters, as_it_is
from rewake.authoring.policy import Seconds, positive
from rewake.authoring.sending import sent
from rewake.errors import CheckpointUnreadable, InvalidInput, NotInARun
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.noted import HeardEvents
from rewake.records import Millis, Outcome, Started, Value
from rewake.replay.execution import Execution, current
from rewake.replay.operation import operation
from rewake.replay.program import Codec
from rewake.values.drawn import given_in_full
from rewake.values.emitted import size_of
from rewake.values.fields import field_names
from rewake.values.matching import Scalar, checked_id, checked_name, checked_where, mark_of

T = TypeVar("T")

SLACK: Final[Millis] = 6_000
"""How much earlier than it was put there the place of an event may be, by any clock."""
EARLY: Final[Millis] = 250
"""How much earlier than a run began, by its own clock, an event may be that it gets."""


class Told(msgspec.Struct, frozen=True):
    """An event, as it is told to a run: the outcome of a wait."""

    id: str
    place: Millis
    data: Any


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is recorded of a wait: which events it is for."""

    where: dict[str, Scalar]
    since: Millis
    had: list[str] = []


@overload
async def wait_for_event(
    name: str,
    /,
    *,
    where: Mapping[str, Scalar] | None = None,
    type: type[T],
    timeout: Seconds | None = None,
) -> T: ...
@overload
async def wait_for_event(
    name: str,
    /,
    *,
    where: Mapping[str, Scalar] | None = None,
    type: Any = None,
    timeout: Seconds | None = None,
) -> Any: ...
@operation
async def wait_for_event(
    name: str,
    /,
    *,
    where: Mapping[str, Scalar] | None = None,
    type: Any = None,
    timeout: Seconds | None = None,
) -> Any:
    """Suspend until an event of this name is published, and return its data.

        paid = await wait_for_event("order.paid", where={"order": order.id}, type=Paid)

    `where`: what fields of its data must be, each a text, a number, a truth value or None; a name
    with dots leads into objects. `type`: what its data becomes, as the input of a run does. It
    gets the first such event since the run began that no earlier wait of the run for the same has
    had, also one from before it was asked for. `timeout`: seconds, or a `timedelta`.

    Raises:
        TimeoutError: none was published in time.
        InvalidInput: its data does not fit `type`; or `where` cannot be, or has a field that `type`
            does not have.
        NotInARun: outside a run.
    """
    execution = current()
    if execution is None:
        raise NotInARun("wait_for_event() needs a run; in a test, supply the data instead")
    wanted, limit = checked_where(where), positive("timeout", timeout)
    checked_name(name)
    convert = as_it_is if type is None else Converters().of(type)
    _check_fields(wanted, type)
    heard = _heard(execution, name, wanted)
    future = execution.request(
        Kind.EVENT,
        name,
        digest=execution.codec.digest(wanted) if wanted else "",
        due=None if limit is None else execution.machine + limit,
        args=functools.partial(_encode, execution.codec, Asked(wanted, heard.since, [*heard.had])),
        resolve=functools.partial(
            _resolve, execution.codec, convert, name, heard, execution.machine
        ),
    )
    return await future


def asked_of(codec: Codec, key: str, args: Value) -> Asked:
    """What is recorded of a wait for an event. Raises `CheckpointUnreadable`."""
    found = codec.decode(args, key=key, purpose=Purpose.EVENT)
    try:
        return msgspec.convert(found, Asked)
    except msgspec.ValidationError as error:
        raise CheckpointUnreadable(f"{key}: what the wait is for: {error}") from error


def told_of(codec: Codec, key: str, value: Value) -> Told:
    """The event with which a wait ended. Raises `CheckpointUnreadable`."""
    found = codec.decode(value, key=key, purpose=Purpose.EVENT)
    try:
        return msgspec.convert(found, Told)
    except msgspec.ValidationError as error:
        raise CheckpointUnreadable(f"{key}: the event that it got: {error}") from error


def _check_fields(where: Mapping[str, Scalar], kind: Any) -> None:
    """Raise `InvalidInput` for a field that data of this type never has."""
    names = _names_of(kind) if isinstance(kind, builtins.type) else None
    for each in where if names else ():
        assert names is not None
        if each not in names and each.partition(".")[0] not in names:
            told = f"{kind.__name__} has no field {each!r} (it has: {', '.join(sorted(names))})"
            raise InvalidInput(f"where: {told}", field=f"where.{each}")


def _names_of(kind: builtins.type) -> set[str] | None:
    """What the fields of a class are called in JSON; None if it has none that are known."""
    if issubclass(kind, msgspec.Struct):
        return set(kind.__struct_encode_fields__)
    names = field_names(kind)
    fields: Mapping[str, Any] = getattr(kind, "__pydantic_fields__", {})
    aliases = {str(each.alias) for each in fields.values() if each.alias}
    return None if names is None else {*names, *aliases}


def _encode(codec: Codec, asked: Asked, key: str) -> Value:
    return codec.encode(msgspec.to_builtins(asked), key=key, purpose=Purpose.EVENT)


def _resolve(
    codec: Codec,
    convert: Converter,
    name: str,
    heard: _Heard,
    asked_at: Millis,
    key: str,
    outcome: Outcome,
) -> Any:
    if outcome.kind is OutcomeKind.TIMEOUT:
        raise TimeoutError(f"no event {name!r} came in time")
    if outcome.value is None:
        raise CheckpointUnreadable(f"the event of {key!r} is missing ({outcome.kind})")
    told = told_of(codec, key, outcome.value)
    heard.hear(mark_of(name, told.id), told.place, asked_at)
    try:
        return given_in_full(convert(told.data, "", False), told.data)
    except InvalidInput as error:
        why = str(error).removeprefix(": ").removeprefix(".")
        raise InvalidInput(
            f"the event {name!r} {told.id!r} does not fit its type: {why}",
            field=error.field.removeprefix("."),
        ) from error


# --- what a run has heard of ----------------------------------------------------------------------


@dataclass(slots=True)
class _Heard:
    """What a run has had of the events of one name and `where`."""

    since: Millis
    had: dict[str, Millis] = field(default_factory=dict)

    def hear(self, mark: str, place: Millis, asked_at: Millis) -> None:
        """Note an event that was observed by a wait that was asked for then."""
        self.had[mark] = place
        self.since = max(self.since, min(asked_at, place) - SLACK)
        self.had = {each: at for each, at in self.had.items() if at >= self.since}


def _heard(execution: Execution, name: str, where: Mapping[str, Scalar]) -> _Heard:
    wanted = execution.codec.digest({"name": name, "where": dict(where)})
    here, outside = execution.blocks.inside.heard, execution.blocks.outside.heard
    known: _Heard | None = here.get(wanted)
    if known is None:
        # A block goes on from what is outside of it, and tells nobody there what it has heard.
        before = outside.get(wanted) or execution.started.lap.events.get(wanted)
        if before is None:
            known = _Heard(execution.started.clock - EARLY, _own(execution.started, name))
        else:
            known = _Heard(before.since, {**before.had})
        here[wanted] = known
    return known


def heard_in(execution: Execution) -> dict[str, HeardEvents]:
    """What the next lap of a run has to know of the events that this one had."""
    heard: Mapping[str, _Heard] = execution.blocks.outside.heard
    return {wanted: HeardEvents(each.since, each.had) for wanted, each in heard.items()}


def started_by(name: str, id: str) -> str:
    """What stands for who started a run where that was an event."""
    return f"event:{name}#{id}"


def _own(started: Started, name: str) -> dict[str, Millis]:
    """The event of this name that started a run, if one did: it is none to wait for."""
    prefix = started_by(name, "")
    if not started.by.startswith(prefix):
        return {}
    return {mark_of(name, started.by.removeprefix(prefix)): started.clock}


# --- publishing -----------------------------------------------------------------------------------


@operation
async def publish(name: str, data: Any = None, /, *, id: str | None = None) -> None:
    """Publish an event for the whole app: every run that waits for it goes on.

        await publish("order.paid", {"order": order.id, "amount": 120}, id=payment.id)

    `data` is JSON of at most 64 KiB. It is published once for each `id`: the same again changes
    nothing. Without one, it is once for this call of the workflow, and in a task or step once for
    each call of the task, however often that is tried; there, it must publish in the same order.
    In a workflow it is a step: once it returns, the event is kept, and what follows from it goes on
    by itself.

    Raises:
        InvalidInput: a name, an id or data that cannot be.
        RunConflict: an event of this id has other data; in a workflow that is a `TaskError`.
        NotInARun: outside a run. A `Client` can publish from anywhere.
    """
    checked_name(name)
    size_of(data)
    text = msgspec.json.encode(data)  # what is published is what it is now
    named = None if id is None else checked_id(id)

    async def send(reach: Reach, own: str) -> None:
        by = f"run:{task_context().run}"
        await reach.publish(name, msgspec.json.decode(text), named or own, by)

    await sent("publish", send, name=f"publish {name}")

"""The call that an invocation of a task asks for: its function, its arguments, its progress."""

from __future__ import annotations

from typing import Any, NamedTuple

from rewake.authoring.task import Task
from rewake.engine.attempts.asked import arguments_of
from rewake.engine.attempts.run_codecs import codec_for
from rewake.engine.services import Services
from rewake.kinds import Purpose
from rewake.records import Invocation, Operation, Value
from rewake.values.run_codec import RunCodec


class Call(NamedTuple):
    """A call of a task. `before`: what the attempt before has told last, as JSON.

    `codec`: that of its run.
    """

    task: Task[Any, Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    before: bytes
    codec: RunCodec


async def call_of(services: Services, operation: Operation, invocation: Invocation) -> Call | None:
    """The call to make; None if this app has no such task. Raises `CheckpointUnreadable`."""
    given = invocation.args or await arguments_of(services.store, operation)
    whole: Value = await services.store.resolve(operation.run, given)
    told = operation.progress
    codec = await codec_for(services, operation.run, *filter(None, (whole, told)))
    before = b"" if told is None else _json_in(codec, told, operation.key)
    decoded = codec.decode(whole, key=operation.key, purpose=Purpose.CALL)
    if isinstance(decoded, tuple):
        task, args, kwargs = decoded
        return Call(task, args, kwargs, before, codec)
    found = services.app.tasks.get(invocation.name)
    if found is None:
        return None
    args, kwargs = decoded
    return Call(found, tuple(args), kwargs, before, codec)


def _json_in(codec: RunCodec, told: Value, key: str) -> bytes:
    return bytes(codec.opened(told, key=key, purpose=Purpose.PROGRESS).body)

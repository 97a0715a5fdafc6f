"""`send_signal`: what a workflow, a task or a step sends to runs.

In a body each is a step: it is done once its result is kept, and done again after a crash before
that. The signal has the id of that step, the same each time, so the run that it is for gets it
once. A send that the store cannot take now is tried again; one that is refused is a `TaskError`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from rewake.authoring.context import Reach, TaskContext, current_context, task_context
from rewake.authoring.policy import Policy
from rewake.authoring.step import StepWork
from rewake.authoring.task import result_of
from rewake.errors import NotInARun, StoreError
from rewake.kinds import Kind
from rewake.replay.execution import current
from rewake.replay.operation import operation
from rewake.values.data import encoded

_POLICY = Policy(retries=1_000, delay=0.2, max_delay=60, retry_on=StoreError)
_Send = Callable[[Reach, str], Coroutine[Any, Any, Any]]


@operation
async def send_signal(run: str, name: str, value: Any = None, *, id: str | None = None) -> None:
    """Send a signal to another run, once: also if this one is interrupted, or replayed.

        await send_signal(order, "paid", Payment(amount=120))

    `value` is JSON data, also of dataclasses and models. `id` tells it apart from others, by
    default it is that of this call. In a task or a step, call it in the same order at each attempt,
    or give an id.

    Raises:
        NotInARun: outside a run; a program has `AsyncClient.signal`.
        UsageError: the value cannot be sent as JSON.
        TaskError: it was refused, by the name of why in `type`: `RunNotFound` (no such run),
            `RunConflict` (it has ended) or `InvalidInput`. In a task or a step, that error.
    """
    given = data(value)
    await sent("send_signal", lambda reach, own: reach.send(run, name, given, id or own))


def data(value: Any) -> Any:
    """What is sent, as JSON data. Raises `UsageError`."""
    return msgspec.json.decode(encoded(value))


async def sent(label: str, send: _Send, name: str = "") -> Any:
    """Send it, in a body as a step of this label, or of a `name` that says more."""
    execution = current()
    if execution is None:
        context = current_context()
        if context is None or context.reach is None:
            raise NotInARun(f"{label}() is for code of a run; elsewhere, use a client")
        return await send(context.reach, next_id(context))

    async def call() -> Any:
        context = task_context()
        assert context.reach is not None
        return await send(context.reach, context.idempotency_key)

    return await execution.request(
        Kind.STEP,
        name or label,
        resolve=functools.partial(result_of, execution.codec, function=call),
        work=StepWork(call, _POLICY, False),
    )


def next_id(context: TaskContext) -> str:
    """The id of what an attempt sends next: the same in each attempt, in the order of calls."""
    return f"{context.idempotency_key}.{next(context.sends)}"

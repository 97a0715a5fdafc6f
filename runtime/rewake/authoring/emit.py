"""`emit`: an item for whoever follows the run.

In a body it is an operation that has ended as soon as it is asked for: its record in the history is
all there is of it. So it costs no commit of its own but the one that comes next anyway (before a
step begins, before the run waits, at its end), nobody sees it before that, and a replay emits
nothing. A body that only emits is not let do so for ever: after a thousand items it waits until
they are committed, by a timer that is due at once, so that it neither blocks its process nor makes
a commit without bound. In a task or a step it is kept with the attempt, as what that logs is.
"""

from __future__ import annotations

from typing import Any

from rewake.authoring.context import current_context
from rewake.kinds import Kind, Purpose
from rewake.replay.execution import current
from rewake.replay.operation import operation
from rewake.values.emitted import size_of


@operation
async def emit(value: Any) -> None:
    """Tell whoever follows the run: append an item to its stream.

        await emit({"step": "charged", "amount": 120})

    `value` is JSON: None, bool, int, float, str, list, and dict with str keys, of at most 64 KiB.
    A body, or an attempt, emits at most 100,000 items, of 64 MiB together. In a task or a step,
    `task_context().emit(value)` is the same as a plain call. Outside a run nobody follows, and the
    value is only checked.

    Raises `InvalidInput` for a value that is not JSON or too large, and for an item too many.
    """
    execution = current()
    if execution is None:
        context = current_context()
        if context is None:
            size_of(value)
        else:
            context.emit(value)
        return
    allowance = execution.blocks.inside.allowance
    if not execution.loop.dead:
        allowance.take(value)
    await execution.request(
        Kind.EMIT,
        "emit",
        args=lambda key: execution.codec.encode(value, key=key, purpose=Purpose.EMITTED),
    )
    if not execution.loop.dead and allowance.pauses(execution.origins.event):
        await execution.request(Kind.TIMER, "emit-pause", due=execution.machine)

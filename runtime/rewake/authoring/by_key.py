"""`signal_or_start`: a signal to the run of a key, which begins with it if there is none."""

from __future__ import annotations

from typing import Any, ParamSpec

from rewake.authoring.context import Reach
from rewake.authoring.inputs import arguments_of
from rewake.authoring.sending import data, sent
from rewake.authoring.workflow import Workflow
from rewake.replay.operation import operation

P = ParamSpec("P")


@operation
async def signal_or_start(
    workflow: Workflow[P, Any], key: str, name: str, value: Any, *args: P.args, **kwargs: P.kwargs
) -> str:
    """Send a signal to the run of a key, or start one that begins with it. Returns the run's id.

        run = await signal_or_start(cart, "customer-7", "add", item, "customer-7")

    `args` and `kwargs` are those of the workflow, for a new run. Just one run gets the signal, also
    if the one that there was is ending. Keys are those of the tenant of the run that sends.

    Raises as `send_signal` does, `TypeError` if the call does not fit the workflow, and a
    `TaskError` also if no run of it can be started so.
    """
    given, arguments = data(value), data(arguments_of(workflow, args, kwargs))

    async def send(reach: Reach, own: str) -> str:
        return await reach.signal_or_start(workflow.name, key, name, given, arguments, own)

    found: str = await sent("signal_or_start", send)
    return found

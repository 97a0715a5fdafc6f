"""`continue_as_new`: the end of one lap of an endless workflow, and the beginning of the next."""

from __future__ import annotations

from typing import Any, NoReturn

from rewake.authoring.context import current_context
from rewake.errors import NotInARun, StoreError, UsageError
from rewake.replay.again import ContinueAsNew
from rewake.replay.execution import current


def continue_as_new(*args: Any, **kwargs: Any) -> NoReturn:
    """End this lap of the workflow, and begin the next one with these arguments.

        @workflow
        async def subscription(customer: str, month: int = 1) -> None:
            await charge(customer, month)
            await sleep(timedelta(days=30))
            continue_as_new(customer, month + 1)

    It is a plain call, not awaited, and does not return: `finally` blocks run, as for any
    exception (a `BaseException`, which `except Exception` lets pass). The run keeps its id, its
    idempotency key and whoever waits for it; its history begins anew, so that it may go on for
    ever. Signals that were not read stay for the next lap. What is still open is cancelled, and
    what is asked for next has keys of the next lap (`lap2/charge`). A `timeout=` of the workflow
    is that of each lap.

    Outside a run the workflow is simply called again.

    Raises:
        NotInARun: in a task or a step.
        UsageError: in a branch (`parallel`, `asyncio.create_task`): return from it first.
        TypeError, InvalidInput: the arguments do not fit the workflow.
    """
    execution = current()
    if execution is not None:
        if execution.loop.current_scope() is not execution.loop.root:
            raise UsageError("continue_as_new() is for the body of a workflow, not for a branch")
        try:
            given = execution.program.again(args, kwargs)
        except StoreError as error:  # a codec that cannot encode now
            execution.halt(error)
            raise
        raise ContinueAsNew(args, kwargs, given)
    if current_context() is not None:
        raise NotInARun("continue_as_new() is for the body of a workflow, not for a task or a step")
    raise ContinueAsNew(args, kwargs)

"""How a workflow ended: its outcome, and what a failed one ended by."""

from __future__ import annotations

import asyncio

from rewake.errors import StuckError
from rewake.kinds import OutcomeKind
from rewake.noted import Cause
from rewake.records import Continued, Finished, Outcome
from rewake.replay.again import again_in
from rewake.replay.loop import WorkflowTask
from rewake.replay.origins import Origins
from rewake.replay.program import Program

DEADLINE = "run-timeout"
"""The key of the timer that ends a whole run."""


def end_of(
    main: WorkflowTask, program: Program, origins: Origins, late: int | None, cancelled: str | None
) -> Finished | Continued:
    """The end of a workflow, or of its lap, whose main task is done.

    `late`: the number of the event at which the time of the run was over. `cancelled`: the reason
    of the newest request to cancel. Raises `StuckError`.
    """
    if late is not None:
        failed = program.fail(TimeoutError("the run did not end within its timeout"))
        outcome = Outcome(OutcomeKind.TIMEOUT, failure=failed.failure)
        return Finished(outcome, Cause(late, DEADLINE))
    try:
        return Finished(program.succeed(main.result()))
    except StuckError:
        raise
    except BaseException as error:
        if (again := again_in(error)) is not None and again.input is not None:
            return Continued(again.input)
        if cancelled is not None and isinstance(error, asyncio.CancelledError):
            failed = program.fail(asyncio.CancelledError(cancelled))
            return Finished(Outcome(OutcomeKind.CANCELLED, failure=failed.failure))
        return Finished(program.fail(error), origins.cause_of(error))

"""How a workflow ended: its outcome, and what a failed one ended by."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from rewake.errors import StoreError, StuckError
from rewake.kinds import Kind, OutcomeKind
from rewake.noted import Cause
from rewake.records import Finished, Millis, Outcome, Scheduled, Started
from rewake.replay.again import Continued, again_in
from rewake.replay.asyncio_order import is_left_alone
from rewake.replay.loop import WorkflowFuture, WorkflowLoop, WorkflowTask
from rewake.replay.mistakes import Mistakes
from rewake.replay.origins import Origins
from rewake.replay.program import Program

DEADLINE = "run-timeout"
"""The key of the timer that ends a whole run."""


class Ending(Protocol):
    """The execution that comes to its end."""

    cancel_reason: str | None
    machine: Millis
    main: WorkflowTask | None
    """The branch of its body."""
    replaying: bool

    @property
    def program(self) -> Program:
        """The workflow."""

    @property
    def loop(self) -> WorkflowLoop:
        """The loop that it runs on."""

    @property
    def origins(self) -> Origins:
        """Where its errors came from."""

    @property
    def mistakes(self) -> Mistakes:
        """What it did wrong."""

    def recorded(self, key: str) -> Scheduled | None:
        """What the history asks for at this key now, if this is a replay."""

    def request(self, kind: Kind, label: str, *, due: Millis | None) -> WorkflowFuture:
        """Ask for a durable operation."""


class End:
    """How one instance comes to its end."""

    def __init__(self, execution: Ending) -> None:
        self._execution = execution
        self._late: int | None = None

    def set_deadline(self, due: Millis | None) -> None:
        """Let the whole run end in a timeout at `due`; on replay, at the recorded time if any."""
        execution = self._execution
        if execution.replaying:
            recorded = execution.recorded(f"{execution.loop.root.path}{DEADLINE}")
            due = recorded.due if recorded is not None and recorded.kind is Kind.TIMER else None
        if due is not None:
            future = execution.request(Kind.TIMER, DEADLINE, due=due)
            future.add_done_callback(self._out_of_time)

    def _out_of_time(self, future: asyncio.Future[Any]) -> None:
        main = self._execution.main
        if not future.cancelled() and main is not None and not main.done():
            self._late = self._execution.origins.event
            main.cancel("the run's time is over")

    async def body(self, started: Started) -> Any:
        """Run the body, then end what it has left, and tell what it forgot."""
        execution, loop = self._execution, self._execution.loop
        try:
            result = await execution.program.body(started)
        except KeyboardInterrupt:
            raise
        except BaseException:
            execution.origins.mark_handled()
            await loop.wind_up(execution.main)
            raise
        by_itself = execution.cancel_reason is None and self._late is None and not loop.dead
        if by_itself:
            left = [task for task in loop.unfinished() if task is not execution.main]
            execution.mistakes.warn([task for task in left if is_left_alone(task)])
        await loop.wind_up(execution.main)
        if by_itself:
            execution.mistakes.check()
        return result

    def of(self, main: WorkflowTask) -> Finished | Continued:
        """The end of the workflow, or of its lap, whose main task is done.

        Raises `StuckError`, and `StoreError` if its result cannot be encoded now.
        """
        program = self._execution.program
        if self._late is not None:
            late = TimeoutError("the run did not end within its timeout")
            if (anew := self._anew(late)) is not None:
                return anew
            failed = program.fail(late)
            outcome = Outcome(OutcomeKind.TIMEOUT, origin=failed.failure)
            return Finished(outcome, Cause(self._late, DEADLINE))
        try:
            result = main.result()
        except StuckError:
            raise
        except BaseException as error:
            return self._failed(error)
        try:
            return Finished(program.succeed(result))
        except (StuckError, StoreError):
            raise
        except Exception as error:
            return self._failed(error)

    def _failed(self, error: BaseException) -> Finished | Continued:
        program, cancelled = self._execution.program, self._execution.cancel_reason
        if (again := again_in(error)) is not None and again.input is not None:
            return Continued(again.input)
        if cancelled is not None and isinstance(error, asyncio.CancelledError):
            failed = program.fail(asyncio.CancelledError(cancelled))
            return Finished(Outcome(OutcomeKind.CANCELLED, origin=failed.failure))
        if (anew := self._anew(error)) is not None:
            return anew
        return Finished(program.fail(error), self._execution.origins.cause_of(error))

    def _anew(self, error: BaseException) -> Continued | None:
        """How the body begins anew after an error; None: that was its end.

        A history that has come to its end has one: on replay nothing is retried.
        """
        execution = self._execution
        if execution.replaying or execution.cancel_reason is not None:
            return None
        return execution.program.retried(error, execution.machine)

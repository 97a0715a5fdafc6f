"""An operation that a workflow asked for, and the future that it awaits."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple, ParamSpec, TypeVar

from rewake.errors import StuckError
from rewake.kin import OtherRun
from rewake.kinds import Kind
from rewake.limited import Terms
from rewake.noted import Cause, Forked
from rewake.records import (
    LATEST,
    ClockSetBack,
    Failure,
    Millis,
    Outcome,
    Retried,
    Scheduled,
    ScheduledFor,
    ScheduledRun,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.replay.loop import WorkflowFuture, WorkflowLoop, WorkflowTask, WorkflowTimer
from rewake.replay.origins import Origins

FORKED_EPOCH = 1
"""The epoch of a forked run before its first turn, as if another turn had been before that."""

P = ParamSpec("P")
R = TypeVar("R")


class How(NamedTuple):
    """How a task is carried out: by the servers of a tag, and under which terms."""

    tag: str = ""
    terms: Terms | None = None


_PLAINLY = How()


class OpenOp:
    """An operation that was asked for and has no observed outcome yet."""

    __slots__ = (
        "about",
        "args",
        "asked_at",
        "attempts",
        "branch",
        "cause",
        "digest",
        "due",
        "failure",
        "fixed",
        "future",
        "how",
        "key",
        "kind",
        "lost",
        "name",
        "not_before",
        "number",
        "place",
        "recorded",
        "resolve",
        "retried",
        "round",
        "silence",
        "timer",
        "why",
        "work",
    )

    def __init__(self, key: str, kind: Kind, name: str, digest: str, due: Millis | None) -> None:
        self.key = key
        """Where in the program it was asked for."""
        self.kind, self.name, self.digest = kind, name, digest
        """The function or the timer's kind, and the digest of a task's arguments: compared."""
        self.round = 0
        """The round of its outcome: how often the run had been retried when it was asked for."""
        self.retried = self.attempts = self.lost = 0
        """Of a step: the run's epoch when it was retried, if it was open then; how many attempts
        have failed, and were lost."""
        self.due = due
        """A timer's moment, or a deadline, by the machine's clock; on replay the recorded one."""
        self.silence: Millis | None = None
        """How long nothing may be heard of what it waits for; None: for ever, or its item says."""
        self.fixed = False
        """Whether `due` is a time of day, which stays if the machine's clock is set back."""
        self.args: Value | None = None
        """Its arguments, encoded."""
        self.work: Any = None
        """For the turn: of a step, its `StepWork`; of a wait for a signal, what fits it."""
        self.number = 0
        """Of a step: the number of its newest attempt, also of one that did not end."""
        self.failure: Failure | None = None
        """Of a step: the newest failed attempt."""
        self.cause: Cause | None = None
        """Of a block that has failed: what it failed by."""
        self.asked_at: Millis = 0
        """When it was asked for, by the machine's clock."""
        self.not_before: Millis | None = None
        """Of a step: the earliest moment of its next attempt."""
        self.branch: WorkflowTask | None = None
        """The asyncio task that awaits this operation and does nothing else."""
        self.timer: WorkflowTimer | None = None
        """The timer that the workflow set with `call_at`."""
        self.future: OpFuture | None = None
        """The future that the workflow awaits."""
        self.place, self.why, self.how = "", "", _PLAINLY
        """Where the user's code asks for it: noted on replay, if it is not in the history; what is
        said where it is withdrawn; of a task, how it is carried out."""
        self.about: OtherRun | None = None
        """The other run that it is about, if it is about one; on replay the recorded one."""
        self.recorded: Scheduled | None = None
        """On replay: the recorded command that asked for it."""
        self.resolve: Callable[[str, Outcome], Any] = nothing
        """Turns the outcome into a value, or raises."""

    @property
    def silent_at(self) -> Millis | None:
        """When it ends if nothing is heard of what it waits for."""
        return None if self.silence is None else min(self.asked_at + self.silence, LATEST)

    def move_back(self, back: Millis) -> None:
        """Let what it waits for be as far away as it was, on a clock that was set back."""
        self.asked_at -= back
        if self.not_before is not None:
            self.not_before -= back
        if self.due is not None and not self.fixed and self.kind.traits.fires:
            self.due -= back

    def go_on(self, event: ClockSetBack | Retried | Forked, machine: Millis) -> None:
        """Wait on from a retry of the run, or in a fork of it, as if the time between had not been.

        Steps, silences and a retry's timer `anew` begin anew; not where just a clock was set back.
        `machine`: the clock before.
        """
        if isinstance(event, ClockSetBack):
            return self.move_back(machine - event.clock)
        anew = event.anew if isinstance(event, Retried) else ""
        if self.key not in (event.over, anew):
            self.move_back(machine - event.clock)
        if self.key == anew and self.due is not None:
            self.due += event.clock - self.asked_at
            self.asked_at = event.clock
        if self.silence is not None:
            self.asked_at = event.clock
        if self.kind.traits.inline:
            epoch = event.epoch if isinstance(event, Retried) else FORKED_EPOCH
            self.attempts, self.retried, self.asked_at = 0, epoch, event.clock
            self.failure = self.not_before = None
        on_retry = None if self.future is None else self.future.on_retry
        if isinstance(event, Retried) and on_retry is not None:
            on_retry(event)
        return None

    def try_again(self, event: Stepped) -> None:
        """Of a step: note that an attempt failed, and when the next one may begin."""
        self.attempts += 1
        self.number = max(self.number, event.number or self.attempts)
        self.failure, self.not_before = event.outcome.failure, event.retry_at

    def scheduled(self) -> Scheduled:
        """The command that asks for this operation; on replay the recorded one."""
        if self.recorded is not None:
            return self.recorded
        asked = (self.key, self.kind, self.name, self.digest, self.args, self.due)
        if self.how != _PLAINLY:
            return ScheduledFor(*asked, self.round, *self.how)
        if self.about is not None:
            return ScheduledRun(*asked, self.round, self.about)
        return Scheduled(*asked, self.round)

    def withdrawn(self) -> Withdrawn:
        """The command that cancels this operation."""
        once = self.kind.traits.inline and self.work.at_most_once
        held = self.about.run if self.about is not None and self.about.held else ""
        return Withdrawn(self.key, self.kind, self.round, once, self.why, held)


def nothing(_key: str, _outcome: Outcome) -> None:
    """Make nothing of an outcome, as a timer does."""


class OpFuture(WorkflowFuture):
    """The future of one operation. Cancelling it withdraws the operation."""

    __slots__ = ("_withdraw", "on_retry", "op")

    def __init__(self, loop: WorkflowLoop, op: OpenOp, withdraw: Callable[[OpenOp], None]) -> None:
        super().__init__(loop=loop)
        self.op = op
        self.on_retry: Callable[[Retried], None] | None = None
        """Told of a retry of the run while it is open."""
        self._withdraw = withdraw

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self._withdraw(self.op)
        return cancelled


def resolve(op: OpenOp, future: OpFuture, outcome: Outcome, origins: Origins) -> None:
    """End the future with the value or error of the outcome. Raises `StuckError`."""
    try:
        value = op.resolve(op.key, outcome)
    except StuckError:
        raise
    except Exception as error:
        if op.cause is None:
            origins.mark(error, op.key)
        else:
            origins.mark_cause(error, op.cause)
        future.set_exception(error)
    else:
        future.set_result(value)


def operation(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """Note each coroutine that a body makes by this function, until it is awaited."""

    @functools.wraps(function)
    def made(*args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]:
        coro = function(*args, **kwargs)
        note_made(coro)
        return coro

    return made


def note_made(coro: Coroutine[Any, Any, Any]) -> None:
    """Note a coroutine of an operation that the caller's caller made, if that is a body."""
    loop = asyncio._get_running_loop()
    if isinstance(loop, WorkflowLoop) and not loop.dead:
        loop.owner.mistakes.made(coro, asyncio.current_task(loop), 3)

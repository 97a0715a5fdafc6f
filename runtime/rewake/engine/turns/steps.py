"""The steps of one turn: started, collected as they end, retried, cancelled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from rewake.authoring.attempt import NotBegun, attempt
from rewake.authoring.context import TaskContext
from rewake.authoring.marking import hidden_in
from rewake.authoring.middleware import AroundKind
from rewake.authoring.policy import millis
from rewake.authoring.step import StepWork
from rewake.engine.logs.carrying import About, warn_of_failure
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.process.leases import PASSING, insist
from rewake.engine.process.work import CLEANUP
from rewake.engine.services import Services, StepHere
from rewake.engine.turns.interrupted import keep_interrupted
from rewake.kinds import OutcomeKind, Purpose
from rewake.noted import Attempted, Try
from rewake.records import Failure, Fired, Header, Millis, Outcome, Scheduled, Stepped, Value
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.values.failures import described, failure_of, said_of
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")

_LOST = "the step began and its result was lost; it runs at most once"

TIMES = 8
"""So often a workflow is begun again for what another process may be able to read."""
AT_ONCE: Millis = 100
"""Within so many milliseconds of being asked for, a step began when it was asked for."""


class Steps:
    """Steps that run in this process, for one turn. `signal` is set whenever one ends."""

    def __init__(self, services: Services, run: str, signal: asyncio.Event) -> None:
        self._services = services
        self._run = run
        self._signal = signal
        self._begun: list[str] = []
        self.running: dict[str, asyncio.Task[Any]] = {}
        self.begun: dict[str, StepHere] = {}
        self.ended: list[tuple[OpenOp, Any, BaseException | None]] = []
        self._seen: list[tuple[OpenOp, Any, BaseException | None]] = []
        """Those that the workflow has observed, while that is not committed."""
        self._dropped = False
        self._due = False
        """Whether some that run at most once begin as soon as that is committed."""
        self._gone: list[str] = []
        """The keys of those that were lost before, likewise."""
        self._waited = False
        self._again = 0
        """How often the workflow was begun again since the last commit."""

    def would_be_lost(self) -> bool:
        """Whether there are steps that the end of this turn would cut off, or begin again."""
        return (bool(self.begun) or self._due) and not self._dropped

    def expect(self, ops: Iterable[OpenOp]) -> None:
        """Note what begins next: once it is in the history, what runs at most once may have begun,
        for all that another turn knows.
        """
        self._due = any(op.work.at_most_once for op in ops)

    async def wait_for_store(self, error: Exception, wait: Millis = 0) -> None:
        """Wait a while for a store that does not answer."""
        level = logging.DEBUG if self._waited else logging.WARNING
        told = "run %s has steps under way, and waits for its store: %s"
        log.log(level, told, self._run, described(error))
        self._waited = True
        await self._services.clock.sleep(wait or self._services.settings.sweep)

    def outlive(self, error: Exception) -> bool:
        """Whether the workflow is to be begun again beside them, as it could not go on.

        What another process may be able to read is left to that after a while.
        """
        lasts = self._again < TIMES or isinstance(error, PASSING)
        return lasts and self.would_be_lost()

    async def wait_to_begin_again(self, error: Exception) -> None:
        """Wait, longer each time, before the workflow is replayed beside the steps that it has."""
        wait = min(self._services.settings.sweep << self._again, self._services.settings.lease)
        self._again = min(self._again + 1, TIMES)
        await self.wait_for_store(error, wait)

    def _take_up(self, execution: Execution) -> None:
        """Go on with another instance of the workflow, which observes once more what has ended."""
        self.ended, self._seen = self._seen + self.ended, []
        self._begun, self._gone = self._gone + self._begun, []
        for key, step in self.begun.items():
            if (op := execution.open.get(key)) is not None:
                op.number, op.not_before = step.attempt.attempt, None

    def find_begun(self, execution: Execution, header: Header) -> None:
        """Note the at-most-once steps that may have begun before a replay: those in the history.

        What was open as the run was retried may begin in the first turn after that. If the turn
        before has put all its attempts on record, what has none was not begun: the run was paused.
        """
        if self._again:
            self._take_up(execution)
            return
        before = header.epoch - 1
        rested = 0 < header.rest == before
        fresh = {entry.key for entry in execution.fresh if isinstance(entry, Scheduled)}
        self._begun = [
            op.key
            for op in execution.open.values()
            if op.kind.traits.inline
            and op.work.at_most_once
            and op.key not in fresh
            and not 0 < op.retried == before
            and op.not_before is None
            and not (rested and op.number <= op.attempts)
        ]

    def ready(self, execution: Execution, now: Callable[[Execution], Millis]) -> list[OpenOp]:
        """The steps that may start. Further tries of what runs at most once are noted before."""
        found = [
            op
            for op in execution.open.values()
            if op.kind.traits.inline
            and op.key not in self.running
            and (op.not_before is None or op.not_before <= now(execution))
        ]
        for op in found:
            if op.work.at_most_once and op.not_before is not None:
                execution.observe(Fired(op.key, now(execution), op.kind))
        return found

    def start(self, ops: Sequence[OpenOp]) -> None:
        """Start an attempt at each step."""
        self._due = False
        for op in ops:
            op.not_before = None
            op.number += 1
            began, where = self._services.clock.now(), self._services.settings.where
            attempt = Try(op.number, began, None, where)
            self.begun[op.key] = StepHere(op.name, op.work.at_most_once, attempt)
            context = self._services.alone()
            task = asyncio.get_running_loop().create_task(self._attempt(op), context=context)
            self.running[op.key] = task
            task.add_done_callback(lambda task, op=op: self._on_end(op, task))  # type: ignore[misc]

    def collect(self, execution: Execution, now: Millis) -> None:
        """Let the workflow observe the attempts that have ended, in the order of their ends."""
        for key in self._begun:
            if key in execution.open:
                execution.observe(self._lost(execution.open[key], now))
        self._gone, self._begun = self._gone + self._begun, []
        for op, result, error in self.ended:
            if isinstance(error, NotBegun):
                del self.begun[op.key]
                raise error  # the turn is released, as for any shortage
            asked = execution.open.get(op.key)
            if asked and execution.error is None and _is_same(asked, op):
                execution.observe(self._stepped(execution, asked, result, error, now))
        self._seen += self.ended
        self.ended.clear()

    def committed(self) -> None:
        """Forget the attempts whose end is in the history now."""
        self._again = 0
        self._seen.clear()
        self._gone.clear()
        if not self.begun:
            return
        open_ = {*self.running, *(op.key for op, _, _ in self.ended)}
        for key in [key for key in self.begun if key not in open_]:
            del self.begun[key]

    async def cancel(self, keys: Sequence[str]) -> None:
        """Cancel the attempts at steps that the workflow withdrew, and keep a record of them."""
        begun = {key: self.begun[key] for key in keys if key in self.begun}
        self.drop(keys)
        await keep_interrupted(self._services, self._run, begun, withdrawn=True)

    def drop(self, keys: Iterable[str]) -> None:
        """Cancel the attempts at steps, without a record."""
        for key in keys:
            self.begun.pop(key, None)
            if (task := self.running.pop(key, None)) is not None:
                task.cancel()

    async def interrupt(self) -> None:
        """Cancel all attempts, let them end with their logs, and keep a record of them."""
        tasks = list(self.running.values())
        self.cancel_all()
        if tasks:
            await asyncio.wait(tasks, timeout=CLEANUP)
        begun = self.begun.copy()
        self.begun.clear()
        self._dropped = False
        await keep_interrupted(self._services, self._run, begun, withdrawn=False)

    def cancel_all(self) -> None:
        """Cancel all attempts and ignore their results."""
        for task in self.running.values():
            task.cancel()
        self.running.clear()
        self.ended.clear()
        self._seen.clear()
        self._dropped = True

    def _on_end(self, op: OpenOp, task: asyncio.Task[Any]) -> None:
        if self.running.get(op.key) is not task:
            return
        del self.running[op.key]
        try:
            result, error = task.result()
        except BaseException as unexpected:  # the runtime's own: the step fails with it
            result, error = None, unexpected
        self.ended.append((op, result, error))
        self._signal.set()

    def _leave(self, op: OpenOp, task: asyncio.Task[Any] | None, error: Exception) -> None:
        """Go on without an attempt that was cancelled and does not end."""
        if self.running.get(op.key) is task:
            log.warning("a step goes on after it was cancelled: nothing of it counts")
            del self.running[op.key]
            self.ended.append((op, None, error))
            self._signal.set()

    async def _attempt(self, op: OpenOp) -> tuple[Value | Exception | None, BaseException | None]:
        work, services = op.work, self._services
        logs = AttemptLog(services.clock)
        context = TaskContext(self._run, op.key, op.number, logs, services.reach)
        elapsed = _elapsed(op, services.clock.now())
        try:
            services.logs.begin(context, logs)
            try:
                attempted = attempt(
                    work.function,
                    (),
                    {},
                    timeout=work.policy.limit(elapsed),
                    late=work.policy.late(elapsed, said_of(op.failure)),
                    context=context,
                    threads=services.threads.steps,
                    leave=partial(self._leave, op, asyncio.current_task()),
                )
                result = await services.around(AroundKind.STEP, context, op.name, attempted)
            finally:
                await services.logs.end(context, logs)
            return await self._sealed(op, result), None
        except asyncio.CancelledError as error:
            if self.running.get(op.key) is not asyncio.current_task():
                raise
            return None, error
        except BaseException as error:
            return None, error

    async def _sealed(self, op: OpenOp, result: Any) -> Value | Exception:
        """A result as data, or why it can be none; a codec that fails for now is asked again."""
        services, codec = self._services, RunCodec(self._services.secret, self._run)
        hint = op.work.hint
        how: dict[str, Any] = {"purpose": Purpose.RESULT, "hint": hint, "hidden": hidden_in(hint)}

        async def seal() -> Value:
            return codec.encode(result, key=op.key, **how)

        told = "what a step came to cannot be encoded yet"
        try:
            return await insist(seal, told, services.clock, services.settings.sweep)
        except Exception as unencodable:
            return unencodable

    def _lost(self, op: OpenOp, now: Millis) -> Stepped:
        """The end of a try that may have begun in a process that is gone."""
        failed, chance = op.attempts + 1, self._services.chance.random()
        wait = op.work.policy.after_loss(failed, elapsed=_elapsed(op, now), chance=chance)
        retry_at = None if wait is None else now + millis(wait)
        outcome = Outcome(OutcomeKind.ERROR, origin=Failure("lost", _LOST, attempts=failed))
        return Stepped(op.key, now, outcome, Attempted(now, retry_at, op.number, once=True))

    def _stepped(
        self,
        execution: Execution,
        op: OpenOp,
        result: Any,
        error: BaseException | None,
        now: Millis,
    ) -> Stepped:
        work: StepWork = op.work
        if error is None:
            if isinstance(result, Value):
                return self._over(execution, op, now, Outcome(OutcomeKind.OK, value=result))
            failure = failure_of(result, _made(op))
            return self._over(execution, op, now, Outcome(OutcomeKind.ERROR, origin=failure))
        failed = op.attempts + 1
        wait = work.policy.next(
            error, failed, elapsed=_elapsed(op, now), chance=self._services.chance.random()
        )
        failure = failure_of(error, _made(op))
        retry_at = None if wait is None else now + millis(wait)
        about = About(self._run, op.key, op.number)
        warn_of_failure(about, failure, self._services.clock, retry_at)
        outcome = Outcome(OutcomeKind.ERROR, origin=failure)
        return self._over(execution, op, now, outcome, retry_at)

    def _over(
        self,
        execution: Execution,
        op: OpenOp,
        now: Millis,
        outcome: Outcome,
        retry_at: Millis | None = None,
    ) -> Stepped:
        """The entry of an attempt that has ended; of a plain one it says nothing more."""
        attempt = self.begun[op.key].attempt
        began = attempt.began or now
        number = 0 if op.number == op.attempts + 1 else op.number
        where = "" if execution.where == attempt.where else attempt.where
        plain = op.number == 1 and not op.retried and began - op.asked_at <= AT_ONCE and not where
        once = op.work.at_most_once and outcome.kind is OutcomeKind.ERROR
        if plain and retry_at is None and not once:
            return Stepped(op.key, now, outcome)
        over = Attempted(began, retry_at, number, where, once=once)
        return Stepped(op.key, now, outcome, over)


def _is_same(asked: OpenOp, op: OpenOp) -> bool:
    """Whether an attempt at one is one at the other, which another instance may have asked for."""
    return (asked.round, asked.number) == (op.round, op.number)


def _made(op: OpenOp) -> int:
    """How many attempts there were with the one that has just ended.

    A try that runs at most once and was lost has failed; any other is lost beside those that have.
    """
    return op.attempts + 1 + (0 if op.work.at_most_once else op.lost)


def _elapsed(op: OpenOp, now: Millis) -> float:
    """Seconds since the step was asked for, by the machine's clock at the newest event."""
    return max(0, now - op.asked_at) / 1000

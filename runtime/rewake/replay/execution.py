"""The replay core: one instance of a workflow body, driven by its history.

**The invariant.** Every nondeterministic fact (what completed, with what result, in what order,
at what time) passes through a checkpoint before the workflow can observe it.

An `Execution` is sans-IO: entries in, entries out; no clock, no store, no network.

- A history is a list of *segments*: one event, then the commands that the workflow issued before
  it was blocked again. `observe` lets the workflow see one more event and appends it, with the
  commands that follow, to `fresh`; the engine, which drives the execution, commits them.
- `replay` feeds a committed history, or what another instance has added to it since. A committed
  segment is always whole, so the commands must be exactly the recorded ones. Check 1 is made when
  an operation is asked for; checks 2 and 3 when a whole segment is compared.

    1. another operation, or a task with other arguments, at a key
    2. the code ran past the history: it asks for what was not asked for then
    3. the code ended before the history: it does not ask for what was asked for then

  Each puts a `NonDeterminismError` in `error` and halts the loop. It is never raised into
  workflow code, so no `except` can swallow it. The first one counts: any that follow before the
  next `await` are its consequences.
- Two executions fed the same history are in the same state: a cached one (warm) and a replayed one
  (cold) cannot be told apart. So a cached one may be dropped at any moment.
"""

from __future__ import annotations

import asyncio
import contextvars
import math
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, cast, get_args

from rewake.errors import CheckpointUnreadable, NonDeterminismError, StoreError, StuckError
from rewake.kin import OtherRun
from rewake.kinds import Kind
from rewake.laps import prefix_of, seed_of
from rewake.noted import Forked, Retried
from rewake.records import (
    LATEST,
    BlockEnded,
    CancelRequested,
    ClockSetBack,
    Command,
    Completed,
    Entry,
    Event,
    Finished,
    Fired,
    Logged,
    Millis,
    Outcome,
    Scheduled,
    Signalled,
    Started,
    StartedAnew,
    Stepped,
    Value,
)
from rewake.replay import asyncio_order, differences, origins, places
from rewake.replay.again import Continued
from rewake.replay.asyncio_order import Needed
from rewake.replay.blocks import Blocks, Inside, Passed, segments_of
from rewake.replay.differences import Comparison, key_of
from rewake.replay.ends import End
from rewake.replay.halting import Halting
from rewake.replay.loop import WorkflowFuture, WorkflowLoop, WorkflowTask, WorkflowTimer
from rewake.replay.mistakes import Mistakes
from rewake.replay.notes import Notes
from rewake.replay.operation import How, OpenOp, OpFuture, nothing, resolve
from rewake.replay.program import Program
from rewake.replay.scope import Group, Scope, bounded
from rewake.values.loglines import LogLines
from rewake.values.sealing import readable

asyncio_order.install()

_COMMANDS = frozenset(get_args(Command))

leaf_code: set[object] = set()
"""Code objects of coroutines that await one operation and return its result, nothing else.

Modules of `authoring/` add theirs. A branch that runs such a coroutine counts under its barrier, so
that a `gather` of a thousand of them wakes its run once.
"""


class Execution:
    """One instance of a workflow body. See the module.

    `fresh` holds the entries that are not committed yet; `open` the operations without an observed
    outcome, in the order asked for; `cancels` counts the requests to cancel that it has observed;
    `finished` the outcome of a workflow that has ended; `error` the reason why it cannot go on;
    `machine` the machine's clock at the newest event, by which waits go on while `clock` stands;
    `replaying` whether what it asks for must have been recorded; `responded` whether it answered;
    `where` the process of the newest attempt at a step; `started` its start. It must be dropped.
    """

    def __init__(self, program: Program, *, run: str, seed: int, round: int = 0) -> None:
        self.run = run
        self.round: Final = round
        self.fresh: list[Entry] = []
        self.open: dict[str, OpenOp] = {}
        self.finished: Outcome | None = None
        self.error: StuckError | StoreError | None = None
        self.cancel_reason: str | None = None
        self.codec: Final = Halting(program.codec, self.halt)
        self.links: Final = program.links
        self.package: Final = program.package
        self.seed = seed
        self.program: Final = program
        self._loop = WorkflowLoop(self)
        self.main: WorkflowTask | None = None
        self._asked, self._withdrawn = dict[str, OpenOp](), list[OpenOp]()
        self._expected: dict[str, Scheduled] = {}
        self.replaying = False
        self._log = LogLines()
        self.mistakes: Final = Mistakes()
        self.notes: Final = Notes()
        self.machine, self.cancels, self.where, self.responded = 0, 0, "", False
        self.origins: Final = origins.Origins()
        self.ended: Finished | Continued | None = None
        self.end: Final = End(self)
        self.blocks: Final = Blocks(self, seed)

    # --- driving it ------------------------------------------------------------------------

    def observe(self, event: Event, outcome: Outcome | None = None) -> None:
        """Let the workflow see one more event, with the outcome that a `Completed` is about.

        An event about nothing that is open sets `error`. After the end, events have no effect.
        """
        if self.finished is not None:
            return
        self._observe(event, outcome)
        self._end_blocks()

    def _observe(self, event: Event, outcome: Outcome | None = None) -> None:
        self.fresh.append(event)
        with self._loop:
            self._apply(event, outcome)
        if self.error is None:
            self.fresh.extend(self._take_commands())

    def _end_blocks(self) -> None:
        """Let the workflow see what came of blocks that have ended: an event each, at once."""
        while self.error is None and self.finished is None and (end := self.blocks.next_end()):
            self._observe(end)

    def replay(self, history: Sequence[Entry], outcomes: Mapping[str, Outcome]) -> None:
        """Feed a committed history, from its `Started` on or from here. A difference sets `error`.

        `outcomes` has the outcome of every key that a `Completed` names. If the history is only
        its `Started`, the first commands are appended to `fresh`.
        """
        history = differences.compared(history, self._log)
        self.replaying = len(history) > 1 or self.main is not None
        self.blocks.passed = Passed(history)
        with self._loop:
            self._replay(history, outcomes)
        self.replaying = False
        self._end_blocks()

    def _replay(self, history: Sequence[Entry], outcomes: Mapping[str, Outcome]) -> None:
        match history:
            case [Started() as started, CancelRequested() as cancel, *asked]:
                self._compare(asked, self._cancelled_at_start(started, cancel))
                return
        cut = origins.is_cut_behind(history)
        for event, commands, is_last in segments_of(history):
            if self.error is not None:
                return
            self.replaying = self.replaying and not (is_last and cut)
            self._replay_segment(event, commands, outcomes)

    def _replay_segment(
        self, event: Any, commands: Sequence[Entry], outcomes: Mapping[str, Outcome]
    ) -> None:
        key = key_of(event)
        if self.blocks.passed.has_inside(event):
            return self._pass_over(event)
        commands = [entry for entry in commands if not self.blocks.passed.has_inside(entry)]
        if type(event) in _COMMANDS:
            return self._stick("", "the history does not begin with an event")
        if self.finished is not None:
            what = f"the code ended before the history, which has a {type(event).__name__} here"
            return self._stick(key, what)
        self._expected = {c.key: c for c in commands if isinstance(c, Scheduled)}
        self._apply(event, outcomes.get(key))
        if self.error is not None:
            return None
        asked = self._take_commands()
        if self.replaying:
            self._compare(commands, asked)
        else:
            self.fresh.extend(asked)
        return None

    def _pass_over(self, event: Any) -> None:
        """Count a segment of the inside of a block, and let nothing of it happen."""
        self.origins.event += 1
        self._loop.clock, self.machine = max(self._loop.clock, event.clock), event.clock
        self.where = getattr(event, "where", "") or self.where

    def cancel_at_start(self, started: Started, cancel: CancelRequested) -> None:
        """End a run that was asked to cancel before its first commit: its body never runs."""
        self.fresh.append(cancel)
        with self._loop:
            self.fresh.extend(self._cancelled_at_start(started, cancel))

    def _cancelled_at_start(self, started: Started, cancel: CancelRequested) -> list[Command]:
        self._begin(started, None)
        self._apply(cancel, None)
        return self._take_commands()

    def drop(self) -> None:
        """End this instance. Its `finally` blocks run, and have no effect."""
        self._loop.drop()
        self.mistakes.end()
        self.open.clear()

    @property
    def clock(self) -> Millis:
        """The recorded clock, which never goes back: the latest moment of any event."""
        return self._loop.clock

    def log(self, level: str, message: str) -> bool:
        """Keep a line that the body logged; returns False on replay, and once dropped."""
        if self.replaying or self._loop.dead:
            return False
        self._log.add(self.clock, level, message)
        return True

    def write(self, level: str, text: str) -> bool:
        """Keep text that the body printed; returns False on replay, and once dropped."""
        if self.replaying or self._loop.dead:
            return False
        self._log.write(self.clock, level, text)
        return True

    def arrivals_needed(self) -> Needed:
        """How many outcomes must be delivered before the workflow can do anything new.

        It is 1, unless every awaited operation is a branch of its own under a barrier: then it is
        what the smallest one needs. A failure counts as enough, but for as many as all bear.
        """
        return asyncio_order.smallest_barrier(
            op.branch for op in self.open.values() if op.kind.traits.awaited
        )

    # --- what the authoring layer calls -------------------------------------------------------

    @property
    def loop(self) -> WorkflowLoop:
        """The loop that the workflow runs on."""
        return self._loop

    def request(
        self,
        kind: Kind,
        label: str,
        *,
        name: str = "",
        digest: str = "",
        due: Millis | None = None,
        fixed: bool = False,
        how: Callable[[], How] = How,
        args: Callable[[str], Value] | None = None,
        compare: Comparison = None,
        resolve: Callable[[str, Outcome], Any] = nothing,
        work: Any = None,
        about: Callable[[str], OtherRun] | None = None,
    ) -> WorkflowFuture:
        """Ask for a durable operation; the future ends when its outcome is observed.

        `label` names it in its key. `args(key)` encodes its arguments at once, and not on replay;
        there `compare` says where they differ if their `digest` does. `resolve(key, outcome)` turns
        the outcome into a value, or raises. `work` is kept for the turn, which carries it out.
        `fixed`: `due` is a time of day that it named. `how()`: who carries out a task, on
        which terms. `about(key)`: the other run that it is about.
        """
        loop = self._loop
        if loop.dead:
            return loop.create_future()
        branch = loop.current_branch()
        scope = branch.scope if branch is not None else loop.current_scope()
        due = None if due is None else min(due, LATEST)
        op = OpenOp(scope.key(label), kind, bounded(name or label), digest, due)
        recorded = self._expected.get(op.key)
        if recorded is not None:
            op.args = recorded.args
        elif args is not None:
            op.args, op.how = args(op.key), how()
        op.resolve = resolve
        op.work = work
        op.fixed, op.about = fixed, about(op.key) if about is not None else None
        if branch is not None and getattr(branch.get_coro(), "cr_code", None) in leaf_code:
            op.branch = branch
        op.future = OpFuture(loop, op, self.withdraw)
        self._ask(op, recorded, compare)
        return op.future

    def arm(self, timer: WorkflowTimer) -> None:
        """Make a timer of asyncio's durable, as the loop's clock is the recorded one."""
        if timer.when() == math.inf:
            return
        # Less than a microsecond past a millisecond is a float's rounding: it must not round up.
        due = min(math.ceil(timer.when() * 1000 - 1e-3) - self.clock + self.machine, LATEST)
        op = OpenOp(self._loop.current_scope().key("timer"), Kind.TIMER, "timer", "", due)
        op.timer = timer
        timer.op = op
        self._ask(op, self._expected.get(op.key))

    def disarm(self, timer: WorkflowTimer) -> None:
        """Withdraw a timer of asyncio's that the workflow cancelled."""
        if timer.op is not None:
            self.withdraw(timer.op)

    def withdraw(self, op: OpenOp) -> None:
        """Withdraw an operation that the workflow no longer wants."""
        op.future = None
        if self._loop.dead or self.open.pop(op.key, None) is None:
            return
        if self._asked.pop(op.key, None) is None:
            self._withdrawn.append(op)

    def scope(self) -> Scope:
        """The scope of the branch that is running."""
        return self._loop.current_scope()

    def ask(self, op: OpenOp) -> None:
        """Ask for a block, which nobody else carries out."""
        self._ask(op, self._expected.get(op.key))

    def recorded(self, key: str) -> Scheduled | None:
        """What the history asks for at this key now, if this is a replay."""
        return self._expected.get(key) if self.replaying else None

    def group(self, label: str) -> Group:
        """Numbered scopes for branches that belong together."""
        return self.scope().group(label)

    def spawn(self, coro: Coroutine[Any, Any, Any], scope: Scope) -> WorkflowTask:
        """Start a branch in a scope of its own."""
        return self._loop.spawn(coro, scope)

    # --- inside ----------------------------------------------------------------------------

    def _ask(self, op: OpenOp, recorded: Scheduled | None, compare: Comparison = None) -> None:
        self.origins.mark_handled()
        self.blocks.asked(op)
        op.round = self.round if recorded is None else recorded.round
        if recorded is not None:
            differs = differences.of_operation(recorded, op, compare)
            if differs:
                self._stick(op.key, differs + places.asked_here(self._loop))
                return
            op.recorded = recorded
            op.due, op.about = recorded.due, recorded.about
        op.place = places.asked_here(self._loop) if self.replaying and not recorded else ""
        op.asked_at = self.machine
        self._asked[op.key] = op
        if not op.kind.traits.at_once:
            self.open[op.key] = op
        elif op.future is not None:
            op.future.set_result(None)

    def _apply(self, event: Event, outcome: Outcome | None) -> None:
        self.origins.event += 1
        self._loop.clock = max(self._loop.clock, event.clock)
        try:
            _APPLY[type(event)](self, event, outcome)
            self.machine = event.clock
            self._loop.run_until_idle()
            if self.main is not None and self.main.done() and self.error is None:
                self._end_with(self.main)
        except (StuckError, StoreError) as error:
            self.halt(error)
        except BaseException as error:  # Ctrl-C, after which the instance is in no known state.
            self.halt(StuckError(f"the process was interrupted ({type(error).__name__})"))
            raise

    def _end_with(self, main: WorkflowTask) -> None:
        self.ended = self.end.of(main)
        self.finished = self.ended.outcome

    def _begin(self, event: Started, _: Outcome | None) -> None:
        self.seed = seed_of(self.seed, event.lap.number)
        self.blocks.outside = Inside(self.seed)
        self._loop.root = Scope(prefix_of(event.lap.number))
        self.started = event
        self.notes.labels = dict(event.labels)
        # An empty context: a workflow must not see the server's context variables.
        self.main = self._loop.spawn(
            self.end.body(event), self._loop.root, name="main", context=contextvars.Context()
        )

    def _completed(self, event: Completed, outcome: Outcome | None) -> None:
        if outcome is None:
            raise CheckpointUnreadable(f"{event.key}: it is completed, but its outcome is missing")
        self._settle(event.key, outcome)

    def _fired(self, event: Fired | Signalled, outcome: Outcome | None) -> None:
        if event.kind.traits.inline and event.key in self.open:
            self.open[event.key].not_before = None  # its next try may have begun from here on
            return
        self._settle(event.key, outcome or event.outcome, getattr(event, "signal", ""))

    def _stepped(self, event: Stepped, _: Outcome | None) -> None:
        op, over = self.open.get(event.key), event.attempt
        if over is not None:
            self.where = over.where or self.where
            if op is not None and over.retry_at is not None:
                return op.try_again(event)
        return self._settle(event.key, event.outcome)

    def _block_ended(self, event: BlockEnded, _: Outcome | None) -> None:
        if not self.blocks.see_end(event) and self.replaying:
            return self._stick(event.key, "the block ended in the history, and does not now")
        return self._settle(event.key, event.outcome)

    def _settle(self, key: str, outcome: Outcome, signal: str = "") -> None:
        op = self.open.pop(key, None)
        if op is None:
            self._stick(key, "the history completes it, but the code never asked for it")
        elif op.timer is not None:
            self._loop.resume(op.timer)
        elif op.future is not None:
            if signal:
                op.work.signal = signal
            resolve(op, op.future, outcome, self.origins)
            op.future = None  # Each refers to the other.

    def _cancel(self, event: CancelRequested, _: Outcome | None) -> None:
        self.cancel_reason = readable(event.reason, "the reason to cancel")
        self.cancels = event.number
        if self.main is not None:
            self.main.cancel(self.cancel_reason)

    def _go_on(self, event: ClockSetBack | Retried | Forked, _: Outcome | None) -> None:
        for op in self.open.values():
            op.go_on(event, self.machine)
        if isinstance(event, Forked):
            self.seed = self.blocks.outside.chance.turn_to(event.seed)

    def _take_commands(self) -> list[Command]:
        """Take the commands issued since the last event, now that the workflow is blocked."""
        commands: list[Command] = [Logged(lines) for lines in self._log.take(self.clock)]
        commands += [op.withdrawn() for op in self._withdrawn]
        at_end, asked = self.ended is not None, self._asked.values()
        commands += [op.scheduled() for op in asked if op.kind.traits.at_once or not at_end]
        if self.ended is not None:
            commands += [op.withdrawn() for op in self.open.values() if op.key not in self._asked]
            commands += [self.ended] if isinstance(self.ended, Finished) else []
            self.open.clear()
        self._asked.clear()
        self._withdrawn.clear()
        return commands

    def _compare(self, recorded: Sequence[Entry], asked: Sequence[Command]) -> None:
        """Make checks 2 and 3, and check that withdrawals and the end are where they were."""
        if asked != recorded and (found := differences.of_segment(recorded, asked)):
            place = places.of_key(self.open.get(found.key), self.main)
            self._stick(found.key, found.told + place)

    def _stick(self, key: str, what: str) -> None:
        where = f"{key}: " if key else ""
        self.halt(NonDeterminismError(f"{where}{what}", key=key))

    def halt(self, error: StuckError | StoreError) -> None:
        """Let the body go no further: nothing that it does from here on counts."""
        self._loop.halted = True
        self.finished = self.ended = None
        self.error = self.error or error


_APPLY: Mapping[type, Callable[[Execution, Any, Outcome | None], None]] = {
    **dict.fromkeys((Started, StartedAnew), Execution._begin),
    Completed: Execution._completed,
    Fired: Execution._fired,
    Stepped: Execution._stepped,
    BlockEnded: Execution._block_ended,
    Signalled: Execution._fired,
    CancelRequested: Execution._cancel,
    ClockSetBack: Execution._go_on,
    Retried: Execution._go_on,
    Forked: Execution._go_on,
}


def current() -> Execution | None:
    """The execution whose workflow is running right now; None in plain Python."""
    loop = asyncio._get_running_loop()
    return cast("Execution", loop.owner) if isinstance(loop, WorkflowLoop) else None

"""The replay core: one instance of a workflow body, driven by its history.

**The invariant.** Every nondeterministic fact (what completed, with what result, in what order,
at what time) passes through a checkpoint before the workflow can observe it.

An `Execution` is sans-IO: entries in, entries out; no clock, no store, no network.

- A history is a list of *segments*: one event, then the commands that the workflow issued before
  it was blocked again. `observe` lets the workflow see one more event and appends it, with the
  commands that follow, to `fresh`; whoever drives the execution commits them.
- `replay` feeds a whole committed history. A committed segment is always whole, so the commands
  must be exactly the recorded ones. That is the first and the third of the checks below, and
  the second follows from an event arriving for something that was never asked for.

    1. another operation, or other arguments, at a key
    2. the code ran past the history: it asks for what was not asked for then
    3. the code ended before the history: it does not ask for what was asked for then

  Each puts a `NonDeterminismError` in `error` and halts the loop. It is never raised into
  workflow code, so no `except` can swallow it.
- Two executions fed the same history are in the same state: a cached one (warm) and a replayed one
  (cold) cannot be told apart. So one may be dropped at any moment.
"""

from __future__ import annotations

import asyncio
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol

from rewake.errors import NonDeterminismError, StuckError
from rewake.records import (
    CancelRequested,
    Command,
    Completed,
    Entry,
    Event,
    Finished,
    Fired,
    Kind,
    Millis,
    Outcome,
    OutcomeKind,
    Scheduled,
    Started,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.replay import asyncio_order
from rewake.replay.loop import WorkflowFuture, WorkflowLoop, WorkflowTask
from rewake.replay.scope import Scope, short_name

asyncio_order.install()

_COMMANDS = (Scheduled, Withdrawn, Finished)
_WAITS_FOR_ARRIVAL = frozenset({Kind.TASK, Kind.APPROVAL})

leaf_code: set[object] = set()
"""Code objects of coroutines that await one operation and return its result, nothing else."""


class Codec(Protocol):
    """How values become data and back, bound to one run. See `rewake.values`."""

    def encode(self, value: Any, *, key: str, purpose: str, hint: Any = None) -> Value:
        """The value as data. Raises what pickling raises for what cannot be encoded."""

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        """The value again. Raises `CheckpointUnreadable`."""


class Program(Protocol):
    """What an execution runs. Supplied by the engine."""

    @property
    def codec(self) -> Codec:
        """How values of this run become data."""

    def is_registered(self, task: object) -> bool:
        """Whether every replica finds this task by its name."""

    def body(self, started: Started) -> Coroutine[Any, Any, Any]:
        """The workflow's coroutine for these arguments. Raises what bad arguments raise."""

    def succeed(self, result: Any) -> Outcome:
        """The outcome of a body that returned; raises if the result cannot be encoded."""

    def fail(self, error: BaseException) -> Outcome:
        """The outcome of a body that raised."""


class OpenOp:
    """An operation that was asked for and has no observed outcome yet."""

    __slots__ = (
        "args",
        "asked_at",
        "attempts",
        "branch",
        "digest",
        "due",
        "future",
        "handle",
        "key",
        "kind",
        "name",
        "not_before",
        "resolve",
        "work",
    )

    def __init__(self, key: str, kind: Kind, name: str, digest: str, due: Millis | None) -> None:
        self.key = key
        self.kind = kind
        self.name = name
        self.digest = digest
        self.due = due
        self.args: Value | None = None
        self.work: Any = None
        self.attempts = 0
        self.asked_at: Millis = 0
        self.not_before: Millis | None = None
        self.branch: WorkflowTask | None = None
        self.handle: asyncio.TimerHandle | None = None
        self.future: OpFuture | None = None
        self.resolve: Callable[[str, Outcome], Any] = _nothing

    def scheduled(self) -> Scheduled:
        """The command that asks for this operation."""
        return Scheduled(self.key, self.kind, self.name, self.digest, self.args, self.due)


def _nothing(key: str, outcome: Outcome) -> None:
    return None


class OpFuture(WorkflowFuture):
    """What a workflow awaits for an operation. Cancelling it withdraws the operation."""

    def __init__(self, *, loop: WorkflowLoop, withdraw: Callable[[], None]) -> None:
        super().__init__(loop=loop)
        self._withdraw = withdraw

    def cancel(self, msg: Any | None = None) -> bool:
        cancelled = super().cancel(msg)
        if cancelled:
            self._withdraw()
        return cancelled


class Execution:
    """One instance of a workflow body. See the module.

    `fresh` holds the entries that are not committed yet; `open` the operations without an observed
    outcome, in the order asked for; `finished` how the workflow ended, once it has; `error`
    why it cannot go on.
    """

    def __init__(self, program: Program, *, run: str, seed: int) -> None:
        self.run = run
        self.fresh: list[Entry] = []
        self.open: dict[str, OpenOp] = {}
        self.finished: Outcome | None = None
        self.error: StuckError | None = None
        self.cancel_reason: str | None = None
        self.random = random.Random(seed)
        self._ids = random.Random(f"{seed}/ids")
        self.codec = program.codec
        self._program = program
        self._loop = WorkflowLoop(self)
        self._loop.execution = self  # type: ignore[attr-defined]
        self._main: WorkflowTask | None = None
        self._timed_out = False
        self._deadline: Millis | None = None
        self._asked: dict[str, OpenOp] = {}
        self._withdrawn: list[OpenOp] = []
        self._expected: dict[str, Scheduled] = {}
        self._replaying = False

    # --- driving it ------------------------------------------------------------------------

    def observe(self, event: Event, outcome: Outcome | None = None) -> None:
        """Let the workflow see one more event, with the outcome that a `Completed` is about."""
        self.fresh.append(event)
        self._apply(event, outcome)
        if self.error is None:
            self.fresh.extend(self._take_commands())

    def replay(self, history: Sequence[Entry], outcomes: Mapping[str, Outcome]) -> None:
        """Feed a committed history, from its `Started` on. See `error` for how that went.

        `outcomes` has the outcome of every key that a `Completed` names.
        """
        self._replaying = True
        position = 0
        match history:
            case [Started() as started, CancelRequested() as cancel, *commands]:
                self._compare(commands, self._cancelled_at_start(started, cancel))
                position = len(history)
        while position < len(history) and self.error is None:
            end = position + 1
            while end < len(history) and isinstance(history[end], _COMMANDS):
                end += 1
            self._replay_segment(history[position:end], outcomes, new=len(history) == 1)
            position = end
        self._replaying = False

    def _replay_segment(
        self, segment: Sequence[Entry], outcomes: Mapping[str, Outcome], *, new: bool
    ) -> None:
        event, *commands = segment
        if isinstance(event, _COMMANDS):
            return self._stick("", "the history does not begin with an event")
        if self.finished is not None:
            key = getattr(event, "key", "")
            return self._stick(key, f"the code ended before the history: it goes on with {event}")
        self._expected = {c.key: c for c in commands if isinstance(c, Scheduled)}
        self._apply(event, outcomes.get(getattr(event, "key", "")))
        if self.error is not None:
            return None
        asked = self._take_commands()
        if new:
            self.fresh.extend(asked)
        else:
            self._compare(commands, asked)
        return None

    def cancel_at_start(self, started: Started, cancel: CancelRequested) -> None:
        """The run was asked to cancel before anything of it was committed: its body never runs."""
        self.fresh.append(cancel)
        self.fresh.extend(self._cancelled_at_start(started, cancel))

    def _cancelled_at_start(self, started: Started, cancel: CancelRequested) -> list[Command]:
        self._loop.clock = max(started.clock, cancel.clock)
        self._begin(started, None)
        self._cancel(cancel, None)
        self._loop.run_until_idle()
        return self._take_commands()

    def drop(self) -> None:
        """End this instance. Its `finally` blocks run, and have no effect."""
        self._loop.drop()
        self.open.clear()

    @property
    def clock(self) -> Millis:
        """The recorded clock: when the newest event was observed."""
        return self._loop.clock

    @property
    def replaying(self) -> bool:
        """Whether the workflow is being fed its own past."""
        return self._replaying

    def arrivals_needed(self) -> int:
        """How many successes must be delivered before the workflow can do anything new.

        1, unless every awaited operation is a branch of its own under a barrier: then the size
        of the smallest barrier. (A failure always counts as enough.)
        """
        barriers: Counter[int] = Counter()
        for op in self.open.values():
            if op.kind not in _WAITS_FOR_ARRIVAL:
                continue
            barrier = asyncio_order.barrier_of(op.branch) if op.branch else None
            if barrier is None:
                return 1
            barriers[id(barrier)] += 1
        return min(barriers.values(), default=1)

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
        args: Callable[[str], Value] | None = None,
        resolve: Callable[[str, Outcome], Any] = _nothing,
        work: Any = None,
        key: str | None = None,
    ) -> WorkflowFuture:
        """Ask for a durable operation; the future ends when its outcome is observed.

        `label` names it in its key. `args(key)` encodes what it needs to be carried out; it is
        called at once, so that later changes of the arguments do not matter, and not on
        replay. `resolve(key, outcome)` makes a value of the outcome, or raises. `work` is kept for
        whoever carries the operation out in this process.
        """
        if self._loop.dead:
            return self._loop.create_future()
        key = key or self._loop.current_scope().key(label)
        op = OpenOp(key, kind, name or label, digest, due)
        recorded = self._expected.get(key)
        if recorded is not None:
            op.args = recorded.args
        elif args is not None:
            op.args = args(key)
        op.resolve = resolve
        op.work = work
        op.branch = self._leaf_branch()
        op.future = OpFuture(loop=self._loop, withdraw=lambda: self._withdraw(op))
        self._ask(op, recorded)
        return op.future

    def arm(self, handle: asyncio.TimerHandle) -> None:
        """A timer of asyncio's own: a durable one, as the loop's clock is the recorded one."""
        due = math.ceil(handle.when() * 1000 - 1e-3)
        op = OpenOp(self._loop.current_scope().key("timer"), Kind.TIMER, "timer", "", due)
        op.handle = handle
        handle._rewake_op = op  # type: ignore[attr-defined]
        self._ask(op, self._expected.get(op.key))

    def disarm(self, handle: asyncio.TimerHandle) -> None:
        """The workflow cancelled a timer of asyncio's."""
        op = getattr(handle, "_rewake_op", None)
        if op is not None and self.open.get(op.key) is op:
            self._withdraw(op)

    def set_deadline(self, due: Millis) -> None:
        """Let the whole run end in a timeout at `due`."""
        future = self.request(Kind.TIMER, "run-timeout", due=due)
        future.add_done_callback(self._out_of_time)

    def is_registered(self, task: object) -> bool:
        """Whether every replica finds this task by its name."""
        return self._program.is_registered(task)

    def uuid4(self) -> uuid.UUID:
        """A random id, the same on replay."""
        return uuid.UUID(int=self._ids.getrandbits(128), version=4)

    def spawn(self, coro: Coroutine[Any, Any, Any], scope: Scope) -> WorkflowTask:
        """Start a branch in a scope of its own."""
        return self._loop.spawn(coro, scope)

    # --- inside ----------------------------------------------------------------------------

    def _ask(self, op: OpenOp, recorded: Scheduled | None) -> None:
        if recorded is not None:
            difference = _difference(recorded, op)
            if difference:
                self._stick(op.key, difference)
                return
        op.asked_at = self._loop.clock
        self.open[op.key] = op
        self._asked[op.key] = op

    def _withdraw(self, op: OpenOp) -> None:
        if self._loop.dead or self.open.pop(op.key, None) is None:
            return
        if self._asked.pop(op.key, None) is None:
            self._withdrawn.append(op)

    def _leaf_branch(self) -> WorkflowTask | None:
        branch = asyncio.current_task(self._loop)
        if isinstance(branch, WorkflowTask):
            code = getattr(branch.get_coro(), "cr_code", None)
            if code in leaf_code:
                return branch
        return None

    def _apply(self, event: Event, outcome: Outcome | None) -> None:
        self._loop.clock = max(self._loop.clock, event.clock)
        try:
            _APPLY[type(event)](self, event, outcome)
            self._loop.run_until_idle()
        except StuckError as error:
            self.error = error
            self._loop.halted = True

    def _begin(self, event: Started, _: Outcome | None) -> None:
        self._main = self._loop.spawn(self._run(event), self._loop.root, name="main")

    async def _run(self, started: Started) -> Any:
        try:
            return await self._program.body(started)
        finally:
            await self._wind_up()

    async def _wind_up(self) -> None:
        """End what the body left behind, as `asyncio.run` does, in creation order."""
        left = [task for task in self._loop.unfinished() if task is not self._main]
        for task in left:
            task.cancel()
        for task in left:
            await asyncio.wait([task])
        for generator in self._loop.open_generators():
            await generator.aclose()

    def _complete(self, event: Completed | Fired | Stepped, outcome: Outcome | None) -> None:
        op = self.open.pop(event.key, None)
        if op is None:
            self._stick(event.key, "the history completes it, but the code never asked for it")
        elif op.handle is not None:
            self._loop.resume(op.handle)
        elif op.future is not None:
            self._resolve(op, op.future, outcome or Outcome(OutcomeKind.OK))

    def _resolve(self, op: OpenOp, future: OpFuture, outcome: Outcome) -> None:
        try:
            value = op.resolve(op.key, outcome)
        except StuckError:
            raise
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    def _step(self, event: Stepped, _: Outcome | None) -> None:
        op = self.open.get(event.key)
        if op is None or event.retry_at is None:
            self._complete(event, event.outcome)
        else:
            op.attempts += 1
            op.not_before = event.retry_at

    def _cancel(self, event: CancelRequested, _: Outcome | None) -> None:
        self.cancel_reason = event.reason
        if self._main is not None:
            self._main.cancel(event.reason)

    def _out_of_time(self, future: asyncio.Future[Any]) -> None:
        if not future.cancelled() and self._main is not None and not self._main.done():
            self._timed_out = True
            self._main.cancel("the run's time is over")

    def _take_commands(self) -> list[Command]:
        """What the workflow asked for since the last event, now that it is blocked."""
        commands: list[Command] = [Withdrawn(op.key, op.kind) for op in self._withdrawn]
        if self._main is not None and self._main.done() and self.finished is None:
            self.finished = self._outcome(self._main)
            commands.extend(
                Withdrawn(op.key, op.kind) for op in self.open.values() if op.key not in self._asked
            )
            self.open.clear()
            commands.append(Finished(self.finished))
        else:
            commands.extend(op.scheduled() for op in self._asked.values())
        self._asked.clear()
        self._withdrawn.clear()
        return commands

    def _outcome(self, main: WorkflowTask) -> Outcome:
        if self._timed_out:
            late = self._program.fail(TimeoutError("the run did not end within its timeout"))
            return Outcome(OutcomeKind.TIMEOUT, failure=late.failure)
        try:
            return self._program.succeed(main.result())
        except asyncio.CancelledError as error:
            if self.cancel_reason is not None:
                failed = self._program.fail(asyncio.CancelledError(self.cancel_reason))
                return Outcome(OutcomeKind.CANCELLED, failure=failed.failure)
            return self._program.fail(error)
        except BaseException as error:
            return self._program.fail(error)

    def _compare(self, recorded: Sequence[Entry], asked: Sequence[Command]) -> None:
        """The second and third check, and that withdrawals and the end are where they were."""
        then, now = _identities(recorded), _identities(asked)
        for identity in now:
            if identity not in then:
                what = "the code ran past the history: it {} here, and did not then"
                return self._stick(identity[1], what.format(_VERB[identity[0]]))
        for identity in then:
            if identity not in now:
                what = "the code ended before the history: it {} then, and does not now"
                return self._stick(identity[1], what.format(_VERB[identity[0]]))
        return None

    def _stick(self, key: str, what: str) -> None:
        where = f"{key}: " if key else ""
        self.error = NonDeterminismError(f"{where}{what}", key=key)
        self._loop.halted = True


def _identities(commands: Sequence[Entry]) -> dict[tuple[str, str], None]:
    kinds = {type(command): type(command).__name__ for command in commands}
    return {(kinds[type(c)], getattr(c, "key", "")): None for c in commands}


def _difference(recorded: Scheduled, op: OpenOp) -> str:
    """What differs between the operation recorded at a key and the one asked for, or ''."""
    if (recorded.kind, recorded.name) != (op.kind, op.name):
        then = f"{recorded.kind} {recorded.name!r}"
        return f"the history has the {then} here, the code asks for the {op.kind} {op.name!r}"
    if recorded.digest != op.digest:
        return f"the {op.kind} {op.name!r} has other arguments here than the history has"
    if recorded.due != op.due:
        return f"the {op.kind} {op.name!r} is due at {op.due}, in the history at {recorded.due}"
    return ""


_VERB = {
    "Scheduled": "asks for this operation",
    "Withdrawn": "cancels this operation",
    "Finished": "ends the workflow",
}

_APPLY: Mapping[type, Callable[[Execution, Any, Outcome | None], None]] = {
    Started: Execution._begin,
    Completed: Execution._complete,
    Fired: Execution._complete,
    Stepped: Execution._step,
    CancelRequested: Execution._cancel,
}


def current() -> Execution | None:
    """The execution whose workflow is running right now, or None: plain Python."""
    loop = asyncio._get_running_loop()
    return getattr(loop, "execution", None) if isinstance(loop, WorkflowLoop) else None


def label_of(function: Callable[..., Any]) -> str:
    """The name of a function in keys."""
    return short_name(getattr(function, "__name__", type(function).__name__))

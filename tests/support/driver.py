"""A driver without I/O: it runs an `Execution` against a scripted world, in any order.

There is no engine here, no store and no clock. A `World` says how each operation ends, by its key;
a `Run` lets the workflow observe that, one event at a time, in an order that the test chooses.
Warm, one instance sees it all. Cold, the instance is dropped after every event and the whole
history is replayed into a new one. Whatever a workflow does, the two must not differ.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

from rewake import Task, Workflow
from rewake.authoring.events import heard_in
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.noted import LapBegun
from rewake.records import (
    CancelRequested,
    Completed,
    Entry,
    Finished,
    Fired,
    Logged,
    Millis,
    Outcome,
    Scheduled,
    Signalled,
    Started,
    Stepped,
    Value,
    Withdrawn,
)
from rewake.replay.again import Continued
from rewake.replay.execution import Execution, current
from rewake.replay.operation import OpenOp
from rewake.signing.links import Links
from rewake.signing.secret import Secret
from rewake.values.codecs import decode, encode
from rewake.values.digests import digest
from rewake.values.failures import failure_of

RUN = "run-1"
START: Millis = 1_700_000_000_000
SECRET = Secret("a secret for tests, long enough")

Body = Callable[..., Awaitable[Any]]


class Failed(Exception):
    """The workflow ended in an error: the type's name, the message."""

    @property
    def kind(self) -> OutcomeKind:
        kind: OutcomeKind = self.args[2]
        return kind


class TestCodec:
    """Values as the engine stores them."""

    __test__ = False

    def encode(
        self, value: Any, *, key: str, purpose: str, hint: Any = None, hidden: tuple[str, ...] = ()
    ) -> Value:
        assert not hidden
        return encode(value, hint=hint, secret=SECRET, run=RUN, key=key, purpose=purpose)

    def decode(self, value: Value, *, key: str, purpose: str, hint: Any = None) -> Any:
        return decode(value, hint=hint, secret=SECRET, run=RUN, key=key, purpose=purpose)

    def digest(self, arguments: Mapping[str, Any]) -> str:
        return digest(arguments)


CODEC = TestCodec()
LINKS = Links(SECRET, "https://app.example")


@dataclass
class TestProgram:
    """A workflow body as the replay core sees it. `tasks` are those that are registered."""

    __test__ = False

    function: Body
    tasks: Sequence[Task[..., Any] | Workflow[..., Any]] = ()
    timeout: Millis | None = None
    codec: TestCodec = CODEC
    links: Links = LINKS
    tenant: str = ""

    def veil(self, _key: str) -> str:
        return ""

    @property
    def package(self) -> str:
        return self.function.__module__.partition(".")[0]

    def is_registered(self, task: object) -> bool:
        return any(each is task for each in self.tasks)

    def function_of(self, workflow: str) -> Callable[..., Any]:
        return self.function

    async def body(self, started: Started) -> Any:
        execution = current()
        assert execution is not None
        execution.end.set_deadline(None if self.timeout is None else started.clock + self.timeout)
        args = self.codec.decode(started.args, key="", purpose="input")
        return await self.function(*args)

    def again(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Value:
        assert not kwargs
        return self.codec.encode(args, key="", purpose="input")

    def retried(self, error: BaseException, now: Millis) -> None:
        """No body of these begins anew."""

    def succeed(self, result: Any) -> Outcome:
        return Outcome(OutcomeKind.OK, self.codec.encode(result, key="", purpose="output"))

    def fail(self, error: BaseException) -> Outcome:
        return Outcome(OutcomeKind.ERROR, origin=failure_of(error, 1))


@dataclass
class World:
    """How operations end. `answers` by key: a value, or an exception; the others are computed.

    What has none may have one in `named`, by its name before a colon; else a task or step is
    called. `called` counts the calls by key. The answer of a signal or event is what that says.
    """

    answers: Mapping[str, Any] = field(default_factory=dict)
    named: Mapping[str, Any] = field(default_factory=dict)
    tasks: Sequence[Task[..., Any]] = ()
    called: dict[str, int] = field(default_factory=dict)

    def outcome(self, op: OpenOp) -> Outcome:
        self.called[op.key] = self.called.get(op.key, 0) + 1
        try:
            result = self._result(op)
        except Exception as error:
            kind = OutcomeKind.TIMEOUT if isinstance(error, TimeoutError) else OutcomeKind.ERROR
            return Outcome(kind, origin=failure_of(error, 1))
        if op.kind is Kind.CHILD_CANCEL:
            return Outcome(OutcomeKind.OK)
        purpose = op.kind.traits.ends_with or Purpose.RESULT
        return Outcome(OutcomeKind.OK, CODEC.encode(result, key=op.key, purpose=purpose))

    def _result(self, op: OpenOp) -> Any:
        if op.kind in (Kind.CHILD_START, Kind.CHILD_CANCEL):
            return op.about.run if op.about else ""
        name = op.name.partition(":")[0]
        if op.key in self.answers or name in self.named:
            answer = self.answers[op.key] if op.key in self.answers else self.named[name]
            if isinstance(answer, Exception):
                raise answer
            if op.kind is Kind.EVENT:
                return {"id": f"of {op.key}", "place": op.asked_at + 1, "data": answer}
            return answer
        if op.kind is Kind.STEP:
            return run_plainly(op.work.function())
        if op.kind is Kind.TASK:
            return run_plainly(self._call(op))
        raise AssertionError(f"no answer for {op.key}")

    def _call(self, op: OpenOp) -> Any:
        assert op.args is not None
        call = CODEC.decode(op.args, key=op.key, purpose=Purpose.CALL)
        if isinstance(call, tuple):
            task, args, kwargs = call
        else:
            args, kwargs = call
            (task,) = (each for each in self.tasks if each.name == op.name)
        assert isinstance(task, Task)
        return task.function(*args, **kwargs)


def run_plainly(result: Any) -> Any:
    """What a coroutine that waits for nothing returns; anything else as it is."""
    if not inspect.iscoroutine(result):
        return result
    try:
        result.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it waits for something")


class Run:
    """One run: its history, and the instance that follows it."""

    def __init__(
        self,
        function: Body | TestProgram,
        *args: Any,
        answers: Mapping[str, Any] | None = None,
        cold: bool = False,
        world: World | None = None,
        timeout: Millis | None = None,
        begin: bool = True,
    ) -> None:
        made = function if isinstance(function, TestProgram) else TestProgram(function)
        self.program = made if timeout is None else replace(made, timeout=timeout)
        tasks = [each for each in self.program.tasks if isinstance(each, Task)]
        self.world = world or World({} if answers is None else answers, tasks=tasks)
        self.cold = cold
        self.clock: Millis = START
        self.outcomes: dict[str, Outcome] = {}
        value = CODEC.encode(list(args), key="", purpose="input")
        self.history: list[Entry] = [Started(START, value)]
        self.execution = self.instance()
        if begin:
            self.execution.replay(self.history, {})
            self._keep()

    def instance(self, function: Body | None = None) -> Execution:
        """A new instance, that has seen nothing; of other code, if a function is given."""
        program = self.program
        if function is not None:
            program = TestProgram(function, program.tasks, program.timeout)
        return Execution(program, run=RUN, seed=7)

    def replayed(
        self, function: Body | None = None, history: Sequence[Entry] | None = None
    ) -> Execution:
        """A new instance that was fed the history so far."""
        execution = self.instance(function)
        execution.replay(self.history if history is None else history, self.outcomes)
        return execution

    # --- events ----------------------------------------------------------------------------

    def settle(self, key: str, answer: Any = ...) -> None:
        """Let one open operation end, and the workflow see it."""
        op = self.execution.open[key]
        if answer is not ...:
            self.world.answers = {**self.world.answers, key: answer}
        if op.kind is Kind.TIMER:
            assert op.due is not None
            self.clock = max(self.clock + 1, op.due)
            return self._observe(Fired(key, self.clock), None)
        if op.kind is Kind.SIGNAL:
            return self._hear(op)
        self.clock += 1
        outcome = self.world.outcome(op)
        if op.kind is Kind.STEP:
            return self._observe(Stepped(key, self.clock, outcome), None)
        self.outcomes[key] = outcome
        return self._observe(Completed(key, self.clock), outcome)

    def _hear(self, op: OpenOp) -> None:
        """A signal comes, or its time is over if the answer is `TimeoutError`."""
        outcome = self.world.outcome(op)
        if outcome.value is None:
            assert op.due is not None, outcome.failure
            assert outcome.kind is OutcomeKind.TIMEOUT, outcome.failure
            self.clock = max(self.clock + 1, op.due)
            return self._observe(Fired(op.key, self.clock, Kind.SIGNAL), None)
        self.clock += 1
        # It is sealed under its id, which here is the key of whoever gets it.
        return self._observe(Signalled(op.key, self.clock, op.key, outcome.value), None)

    def next_lap(self) -> bool:
        """Begin the next lap, if the workflow has gone on as new."""
        ended = self.execution.ended
        if not isinstance(ended, Continued):
            return False
        begun = LapBegun(self.execution.started.lap.number + 1, events=heard_in(self.execution))
        self.execution.drop()
        self.clock += 1
        self.outcomes.clear()
        self.history[:] = [Started(self.clock, ended.args, round=begun.number - 1, lap=begun)]
        self.execution = self.instance()
        self.execution.replay(self.history, {})
        self._keep()
        return True

    def cancel(self, reason: str = "told to") -> None:
        self.clock += 1
        self._observe(CancelRequested(self.clock, reason), None)

    def _observe(self, event: Any, outcome: Outcome | None) -> None:
        self.execution.observe(event, outcome)
        self._keep()
        if self.cold and self.execution.error is None:
            self.restart()

    def restart(self) -> None:
        """Drop the instance, and replay the history into a new one. It must be the same."""
        warm = self.execution
        state, ended = open_state(warm), warm.finished
        warm.drop()
        self.execution = cold = self.replayed()
        assert cold.error is None, cold.error
        assert cold.fresh == [], "a replay asked for something new"
        assert open_state(cold) == state
        assert (cold.finished is None) == (ended is None)
        assert cold.clock == warm.clock

    def _keep(self) -> None:
        if self.execution.error is None:
            self.history.extend(self.execution.fresh)
            self.execution.fresh.clear()

    # --- looking ---------------------------------------------------------------------------

    @property
    def open(self) -> list[str]:
        """The keys of what is open, in the order asked for."""
        return list(self.execution.open)

    @property
    def eligible(self) -> list[str]:
        """What may end next: everything but timers that are due after another one."""
        timers = [op for op in self.execution.open.values() if op.kind is Kind.TIMER]
        first = min(timers, key=lambda op: op.due or 0, default=None)
        return [
            key
            for key, op in self.execution.open.items()
            if not op.kind.traits.encloses and (op.kind is not Kind.TIMER or op is first)
        ]

    @property
    def finished(self) -> bool:
        return self.execution.finished is not None

    @property
    def result(self) -> Any:
        """What the workflow returned. Raises `Failed` if it did not."""
        outcome = self.execution.finished
        assert outcome is not None, f"it is not finished; open: {self.open}"
        if outcome.kind is OutcomeKind.OK:
            assert outcome.value is not None
            return CODEC.decode(outcome.value, key="", purpose="output")
        assert outcome.failure is not None
        raise Failed(outcome.failure.type, outcome.failure.message, outcome.kind)

    @property
    def asked(self) -> list[str]:
        """The keys of everything that was ever asked for, in the order of the history."""
        return [entry.key for entry in self.history if isinstance(entry, Scheduled)]

    @property
    def withdrawn(self) -> list[str]:
        return [entry.key for entry in self.history if isinstance(entry, Withdrawn)]

    def to_the_end(self, choose: Callable[[list[str]], int] = lambda keys: 0) -> Run:
        """Let everything end, in the order that `choose` picks, until the workflow has."""
        for _ in range(10_000):
            if self.finished or self.execution.error is not None:
                return self
            keys = self.eligible
            assert keys, "the workflow waits for something that nothing can bring about"
            self.settle(keys[choose(keys)])
        raise AssertionError("it does not end")

    def close(self) -> None:
        self.execution.drop()


def open_state(execution: Execution) -> dict[str, tuple[object, ...]]:
    """All that an engine sees of what is open."""
    return {
        op.key: (op.kind, op.name, op.digest, op.due, op.attempts, op.not_before, op.asked_at)
        for op in execution.open.values()
    }


def segments(history: Sequence[Entry]) -> Iterator[int]:
    """Where a history may be cut: before each event but the first, and at its end.

    The end of a block is no event from outside: it is committed with the one before it.
    """
    blocks = {e.key for e in history if isinstance(e, Scheduled) and e.kind.traits.encloses}
    for position, entry in enumerate(history):
        is_command = isinstance(entry, Scheduled | Withdrawn | Logged | Finished)
        is_end = isinstance(entry, Stepped) and entry.key in blocks
        if position and not is_command and not is_end:
            yield position
    yield len(history)


def orders(start: Callable[[], Run], limit: int = 2_000) -> Iterator[Run]:
    """Every order in which the operations of a workflow can end, each as a finished run.

    Walks the tree of choices depth first; at most `limit` runs, then a seeded sample of the rest.
    """
    path: list[int] = []
    for _ in range(limit):
        widths: list[int] = []
        run = start().to_the_end(_follow(path, widths))
        yield run
        run.close()
        path = path[: len(widths)] + [0] * (len(widths) - len(path))
        while path and path[-1] + 1 >= widths[len(path) - 1]:
            path.pop()
        if not path:
            return
        path[-1] += 1
    for seed in range(50):
        run = start().to_the_end(at_random(seed))
        yield run
        run.close()


def at_random(seed: int) -> Callable[[list[str]], int]:
    """Choices by chance, the same for one seed."""
    chance = random.Random(seed)
    return lambda keys: chance.randrange(len(keys))


def _follow(path: Sequence[int], widths: list[int]) -> Callable[[list[str]], int]:
    steps = count()

    def choose(keys: list[str]) -> int:
        step = next(steps)
        widths.append(len(keys))
        return path[step] if step < len(path) else 0

    return choose


def same_in_every_order(
    function: Body,
    *args: Any,
    answers: Mapping[str, Any] | None = None,
    timeout: Millis | None = None,
    limit: int = 300,
) -> list[Run]:
    """Run the workflow in every order, warm and cold; return the warm runs.

    Asserts that warm and cold have the same history, that replaying each prefix of it is a
    fixed point, that no key is asked for twice, and that one key is one operation in all orders.
    """

    def start(cold: bool) -> Callable[[], Run]:
        return lambda: Run(function, *args, answers=answers, cold=cold, timeout=timeout)

    warm, identities = [], dict[str, tuple[object, ...]]()
    for one, other in zip(orders(start(False), limit), orders(start(True), limit), strict=True):
        check_history(one)
        assert one.history == other.history, "warm and cold differ"
        for entry in one.history:
            if isinstance(entry, Scheduled):
                identity = (entry.kind, entry.name, entry.digest)
                assert identities.setdefault(entry.key, identity) == identity, entry.key
        warm.append(one)
    return warm


def check_history(run: Run) -> None:
    """Assert what is true of every history, whatever the workflow and the order."""
    assert run.execution.error is None, run.execution.error
    assert len(set(run.asked)) == len(run.asked), "a key was asked for twice"
    settled = [e.key for e in run.history if isinstance(e, Completed | Fired | Stepped)]
    assert len(set(settled)) == len(settled), "an operation ended twice"
    assert not set(settled) & set(run.withdrawn), "what is settled stays settled"
    ends = [end for end in segments(run.history) if end > 1]
    for end in ends:
        prefix = run.replayed(history=run.history[:end])
        assert prefix.error is None, prefix.error
        assert prefix.fresh == []
        if end != ends[-1]:  # it goes on with what another instance has added
            prefix.replay(run.history[end:], run.outcomes)
            assert prefix.error is None, prefix.error
            assert (prefix.fresh, [*prefix.open]) == ([], [*run.execution.open])
            assert prefix.finished == run.execution.finished
        prefix.drop()

"""The context of an attempt, for the body of its task or step."""

from __future__ import annotations

import hashlib
import itertools
import logging
from collections.abc import Iterator
from contextvars import Context, ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, Protocol

from msgspec import UNSET

from rewake.authoring.heartbeat import Beats
from rewake.errors import NotInARun, UsageError
from rewake.values.emitted import size_of


class HasLogger(Protocol):
    """Keeps what an attempt says. Makes a logger when it is first asked for: most need none."""

    @property
    def logger(self) -> logging.Logger:
        """The attempt's logger."""
        ...

    def emit(self, value: Any) -> None:
        """Keep an item. Raises `InvalidInput`."""
        ...


class Reach(Protocol):
    """What an attempt can do to other runs, by way of the engine that carries it out."""

    async def send(self, run: str, name: str, value: Any, id: str) -> None:
        """Send a signal. Raises as `send_signal` tells."""
        ...

    async def signal_or_start(
        self, workflow: str, key: str, name: str, value: Any, arguments: Any, id: str
    ) -> str:
        """Send a signal to the run of a key, or start one with it. Returns its id."""
        ...

    async def enter_state(
        self, name: str, key: str, token: str, number: int, task: str
    ) -> dict[str, Any]:
        """Hold a keyed state for this run, or for this task of it, or stand in its line."""
        ...

    async def leave_state(
        self, name: str, key: str, token: str, number: int, task: str, value: Any, read: int | None
    ) -> None:
        """Let go of it, or leave its line. `read`: the version that was; None: nothing is written.

        Raises `RunConflict` if it is not held, and was written meanwhile.
        """
        ...

    async def publish(self, name: str, data: Any, id: str, by: str) -> None:
        """Publish an event. Raises `InvalidInput`, `EventConflict`."""
        ...


class LocalLog:
    """The log outside a run: plain Python logging."""

    logger = logging.getLogger("rewake.task")

    def emit(self, value: Any) -> None:
        """Only check the item."""
        size_of(value)


@dataclass(frozen=True, slots=True)
class TaskContext:
    """One attempt at a task or step.

    `idempotency_key` is the same over all attempts of this operation and different for every
    other: pass it to the service that you call, so that a repeated attempt changes nothing.
    `attempt` counts from 1 and includes attempts that were lost with their process, or interrupted.
    The lines of `logger` are kept with the run, from INFO on; so are printed text and the records
    that any other logger lets pass.
    """

    run: str
    key: str
    attempt: int
    logs: HasLogger = field(repr=False)
    reach: Reach | None = field(default=None, repr=False, compare=False)
    sends: Iterator[int] = field(default_factory=itertools.count, repr=False, compare=False)
    beats: Beats | None = field(default=None, repr=False, compare=False)

    @property
    def logger(self) -> logging.Logger:
        """A logger whose lines are kept with the run."""
        return self.logs.logger

    def emit(self, value: Any) -> None:
        """Append an item to the run's stream, for whoever follows it. See `emit`.

        It is kept within a second, with what else this attempt says, and at the latest with its
        end; only a process that dies takes the last second with it.

        Raises `InvalidInput` for a value that is not JSON or too large, and for an item too many.
        """
        self.logs.emit(value)

    def heartbeat(self, progress: Any = UNSET) -> None:
        """Say that this attempt goes on, and how far it is: for the next one, and for people.

            done = task_context().progress or 0
            for number in range(done, len(pages)):
                index(pages[number])
                task_context().heartbeat(number + 1)

        A plain call from any thread, which costs microseconds: what was told last is kept a few
        times in a lease, and when the attempt fails. `progress` is JSON, of at most 16 KiB; without
        it the one before stands. With `@task(heartbeat=)` silence for longer than that gives the
        attempt up.

        In a task that is called in place, inside of another task, it is one of both.

        Raises `InvalidInput` for other progress, `AttemptOver` once nothing that the attempt does
        counts any more, and `UsageError` in a step and in a child process.
        """
        if self.beats is None:
            raise UsageError("heartbeat() is for tasks: a step has nothing that keeps its progress")
        self.beats.beat(progress)

    @property
    def progress(self) -> Any:
        """What the attempts before this one have told last by `heartbeat`; None: nothing."""
        return None if self.beats is None else self.beats.progress

    @property
    def idempotency_key(self) -> str:
        """32 hexadecimal digits, stable over attempts and replays."""
        return idempotency_key(self.run, self.key)


def idempotency_key(run: str, key: str) -> str:
    """The idempotency key of an operation."""
    return hashlib.sha256(f"{run}\0{key}".encode()).hexdigest()[:32]


_current: ContextVar[TaskContext | None] = ContextVar("rewake_task_context", default=None)


def task_context() -> TaskContext:
    """The attempt that the calling code is part of.

        key = task_context().idempotency_key
        pay(amount, idempotency_key=key)

    Raises:
        NotInARun: outside the body of a task or step.
    """
    context = current_context()
    if context is None:
        raise NotInARun("task_context() is for the body of a task or a step")
    return context


def current_context() -> TaskContext | None:
    """The attempt that the calling code is part of, if any."""
    return _current.get()


def context_in(context: Context) -> TaskContext | None:
    """The attempt that code in this context is part of, if any."""
    return context.get(_current)


def enter(context: TaskContext) -> None:
    """Make `context` the current one for the calling asyncio task or thread."""
    _current.set(context)


def step_out() -> Token[TaskContext | None]:
    """Let what follows be part of no attempt, although one has led to it; `step_in` ends that."""
    return _current.set(None)


def step_in(token: Token[TaskContext | None]) -> None:
    """Let what follows be part of the attempt that was left."""
    _current.reset(token)

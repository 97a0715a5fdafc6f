"""Who a log record of this process is about: the run, the operation and the attempt.

The parts of an engine say what they carry out, in a context variable that their asyncio tasks and
threads inherit; `engine/logs/logs.py` stamps every record with it.
"""

from __future__ import annotations

import logging
from contextvars import Context, ContextVar
from typing import NamedTuple

from rewake.authoring.context import current_context, step_in, step_out
from rewake.clock import Clock
from rewake.records import Failure, Millis
from rewake.replay.execution import current as current_execution

log = logging.getLogger("rewake.engine")

runs_log = logging.getLogger("rewake.runs")
"""The logger of the life of each run: that it starts, what it waits for, that it ends."""


class About(NamedTuple):
    """What is carried out: a run, and an attempt at one of its operations (or its body)."""

    run: str
    key: str = ""
    attempt: int | None = None


class Span(NamedTuple):
    """A time of the event loop that a host gives: since when, and until when."""

    begun: float
    over: float


_about: ContextVar[tuple[str, str, int | None] | None] = ContextVar("rewake_about", default=None)
until: ContextVar[Span | None] = ContextVar("rewake_until", default=None)
"""In which time what is carried out must be over, if in any (`engine/handover/within.py`)."""


def carried_into(context: Context) -> Context:
    """This context, in which the same is carried out as here."""
    context.run(_about.set, _about.get())
    context.run(until.set, until.get())
    return context


class carrying_out:  # noqa: N801 - read as a statement, as `contextlib.suppress`
    """Let the log records made inside the block, and in what it starts, be about this.

    An attempt may have led to it, by a signal that it has sent, and is another's all the same.
    """

    __slots__ = ("_about", "_left", "_token")

    def __init__(self, run: str, key: str = "", attempt: int | None = None) -> None:
        self._about = run, key, attempt

    def __enter__(self) -> None:
        self._token, self._left = _about.set(self._about), step_out()

    def __exit__(self, *_: object) -> None:
        step_in(self._left)
        _about.reset(self._token)


def stamp(record: logging.LogRecord) -> None:
    """Give a record `run`, `key` and `attempt`, but for those that its author gave it."""
    execution, context = current_execution(), current_context()
    if execution is not None:
        about: About = About(execution.run)
    elif context is not None:
        about = About(context.run, context.key, context.attempt)
    elif (carried := _about.get()) is not None:
        about = About(*carried)
    else:
        return
    for name, value in about._asdict().items():
        record.__dict__.setdefault(name, value)


# --- how attempts end --------------------------------------------------------------------------


def warn_of_failure(about: About, failure: Failure, clock: Clock, again: Millis | None) -> None:
    """Say that an attempt failed, and when the next one begins."""
    first = failure.message.partition("\n")[0]
    with carrying_out(*about):
        log.warning(
            "attempt %s at %s of run %s failed: %s: %s; %s",
            about.attempt,
            about.key,
            about.run,
            failure.type,
            first,
            in_words(clock, again),
        )


def in_words(clock: Clock, again: Millis | None) -> str:
    """When the next attempt begins."""
    if again is None:
        return "there is no next one"
    return f"the next one is in {max(0, again - clock.now()) / 1000:g} s"

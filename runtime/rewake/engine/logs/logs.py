"""Logs of runs: each line is kept with its run, once, and still goes to the log of the process.

Each record of Python's `logging`, and all printed text, belongs to the code that is running
then: an attempt at a task or step (found by its context), or the body of a workflow (found
by its event loop). The log of an attempt is stored with the attempt. The log of a body is stored in
the history, in the next commit; a replay only repeats it, so then it goes nowhere.

While an engine is open, two things of the process are wrapped for that:
`logging.Logger.callHandlers`, through which every record goes once its logger's level and filters
let it pass, regardless of which loggers and handlers are configured (Sentry's SDK takes the
same place); and `sys.stdout` and `sys.stderr`. Each record is given what it is about there: a log
record factory would let `extra={"run": …}` of the app fail.
"""

from __future__ import annotations

import logging
import sys
import threading
from functools import cached_property
from typing import Any, Protocol, TextIO, cast

import msgspec

from rewake.app import OUR_LOGGERS
from rewake.authoring.context import current_context
from rewake.clock import Clock
from rewake.engine.logs.carrying import stamp
from rewake.replay.execution import current as current_execution
from rewake.streamed import Emission, LogLine
from rewake.values.emitted import Allowance
from rewake.values.failures import described
from rewake.values.loglines import LogLines

_STREAMS = {"stdout": "STDOUT", "stderr": "STDERR"}
_formatter = logging.Formatter()


class Sink(Protocol):
    """Keeps the log of the code that is running.

    Each call returns whether the process should log it too: on replay it did so before.
    """

    def log(self, level: str, message: str) -> bool:
        """Keep a line."""

    def write(self, level: str, text: str) -> bool:
        """Keep a piece of text; a newline ends a line."""


class AttemptLog:
    """What one attempt says: its log, and the items that it emits."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines = LogLines()
        self._allowance = Allowance()
        self._items: list[tuple[Emission, int]] = []
        self._lock = threading.Lock()  # a sync attempt speaks in its thread
        self.pending: list[list[LogLine]] = []
        """Pieces that were taken and are not stored yet."""
        self.parts = 0
        """How many pieces are stored."""

    def log(self, level: str, message: str) -> bool:
        """Keep a line."""
        with self._lock:
            self._lines.add(self._clock.now(), level, message)
        return True

    def write(self, level: str, text: str) -> bool:
        """Keep printed text."""
        with self._lock:
            self._lines.write(self._clock.now(), level, text)
        return True

    def emit(self, value: Any) -> None:
        """Keep an item, which is sealed as it is stored. Raises `InvalidInput`."""
        with self._lock:
            size, body = self._allowance.take(value), msgspec.Raw(msgspec.json.encode(value))
            self._items.append((Emission(self._clock.now(), "json", body), size))

    @property
    def empty(self) -> bool:
        """Whether there is nothing that is not stored: most attempts say nothing."""
        return not self._items and not self.pending and self._lines.empty

    def take_items(self) -> list[tuple[Emission, int]]:
        """Take the items since the last call, with their sizes."""
        with self._lock:
            taken, self._items = self._items, []
        return taken

    def take(self, *, over: bool) -> None:
        """Move what is new into `pending`, in pieces that a store has room for.

        Only at the end (`over`) is a line that was begun taken as it is.
        """
        if self._lines.empty:
            return
        with self._lock:
            self.pending += self._lines.take(self._clock.now(), over=over)

    @cached_property
    def logger(self) -> logging.Logger:
        """The attempt's own logger: kept from INFO on, however logging is configured."""
        # Not from getLogger(), which would keep the logger of every attempt for ever.
        logger = logging.Logger("rewake.task")  # noqa: LOG001
        logger.setLevel(min(logging.INFO, _python.getEffectiveLevel()))
        logger.addHandler(_SendOn())
        return logger


class _SendOn(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _python.isEnabledFor(record.levelno):
            _python.handle(record)


_python = logging.getLogger("rewake.task")


# --- the code that is running ------------------------------------------------------------------


class _Passing(threading.local):
    """Set while a kept line is passed on: a handler may print or log it, which is not kept."""

    on = False

    def __enter__(self) -> None:
        self.on = True

    def __exit__(self, *exception: object) -> None:
        self.on = False


_passing = _Passing()


def _sink() -> Sink | None:
    """The sink of the code that is running; None if a line of it is not to be kept."""
    if _passing.on:
        return None
    execution = current_execution()
    if execution is not None:
        return execution
    context = current_context()
    logs = None if context is None else context.logs
    return logs if isinstance(logs, AttemptLog) else None


def _call_handlers(logger: logging.Logger, record: logging.LogRecord) -> None:
    stamp(record)
    sink = _sink()
    if sink is None:
        _hand_on(logger, record)
    elif sink.log(record.levelname, _message(record)):
        with _passing:
            _hand_on(logger, record)


def _hand_on(logger: logging.Logger, record: logging.LogRecord) -> None:
    """Let the handlers have it. What one of them raises is for who logged, unless that is us."""
    try:
        _original(logger, record)
    except Exception:
        if record.name.partition(".")[0] not in OUR_LOGGERS:
            raise  # an error in a line of the server itself would be one of all runs
        _reporter.handleError(record)


def _message(record: logging.LogRecord) -> str:
    """The message, with its traceback."""
    try:
        return _formatter.format(record)
    except BaseException as error:  # its handlers report that; no line of log fails any work
        what = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__}>"
        return f"{what} ({described(error)})"


_original = logging.Logger.callHandlers
_reporter = logging.NullHandler()


class _Stream:
    """A stream that keeps what is written to it, then passes it on."""

    def __init__(self, inner: TextIO, level: str) -> None:
        self.inner = inner
        self._level = level

    def write(self, text: str) -> int:
        sink = _sink()
        if sink is None:
            return self.inner.write(text)
        if sink.write(self._level, text):
            with _passing:
                self.inner.write(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


# --- of the process ----------------------------------------------------------------------------


class _Capture:
    """Wraps logging and the standard streams while an engine is open."""

    def __init__(self) -> None:
        self._users = 0
        self._lock = threading.Lock()

    def open(self) -> None:
        with self._lock:
            self._users += 1
            logging.Logger.callHandlers = _call_handlers  # type: ignore[method-assign,assignment]
        self.take_streams()

    def take_streams(self) -> None:
        """Wrap the standard streams, again if somebody has put others in their place."""
        for name, level in _STREAMS.items():
            stream = getattr(sys, name)
            if self._users and stream is not None and not isinstance(stream, _Stream):
                setattr(sys, name, cast("TextIO", _Stream(stream, level)))

    def close(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users:
                return
            logging.Logger.callHandlers = _original  # type: ignore[method-assign]
            for name in _STREAMS:
                stream = getattr(sys, name)
                if isinstance(stream, _Stream):
                    setattr(sys, name, stream.inner)


capture = _Capture()
"""The one capture of this process: from the first `open` to the last `close`, logs are kept."""

"""What an attempt logs, kept with its run as well as sent to Python's own logging.

Kept is everything from INFO on, and whatever else the logger `rewake.task` is set to pass; sent on
is what that logger passes.
"""

from __future__ import annotations

import logging
from functools import cached_property

from rewake.engine.clock import Clock
from rewake.records import LogLine

LIMIT = 1024 * 1024
"""Bytes that one attempt may log; then a notice, and no more."""


class _Keep(logging.Handler):
    def __init__(self, clock: Clock, lines: list[LogLine]) -> None:
        super().__init__()
        self._clock = clock
        self._lines = lines
        self._room = LIMIT

    def emit(self, record: logging.LogRecord) -> None:
        if self._room <= 0:
            return
        message = record.getMessage()
        self._room -= len(message)
        if self._room <= 0:
            message = f"(cut here: an attempt keeps at most {LIMIT:,} bytes of log)"
        self._lines.append(LogLine(self._clock.now(), record.levelname, message))


class _SendOn(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        if _python.isEnabledFor(record.levelno):
            _python.handle(record)


_python = logging.getLogger("rewake.task")


class AttemptLog:
    """What one attempt logs: `lines`, filled through `logger`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.lines: list[LogLine] = []

    @cached_property
    def logger(self) -> logging.Logger:
        """The attempt's own logger, made when it is first asked for."""
        # Not from getLogger(): one for each attempt, that nobody else logs to, and that is let go.
        logger = logging.Logger("rewake.task")  # noqa: LOG001
        logger.setLevel(min(logging.INFO, _python.getEffectiveLevel()))
        logger.addHandler(_Keep(self._clock, self.lines))
        logger.addHandler(_SendOn())
        return logger

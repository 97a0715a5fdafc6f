"""What a server takes on at once, and what it refuses with a 503 so that it can keep the rest.

A run that was accepted is carried out, however long that takes. So a server that has more to do
than it gets done must stop accepting, or each run would wait longer than the one before. What is
measured is not how many runs there are: those that are suspended, and those whose steps or tasks
wait for something else, cost nothing. It is how many turns wait for this process itself, its
processor and its database (the *backlog*); starts that are being written count as well.

A request that waits for a result holds a connection and looks at its run now and then, whoever
carries the run. So of these there is a number of its own, and who has gone away is none of them.

Both refuse before anything is written: whoever is told a 503 may send the same again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from rewake.engine.engine import Engine
from rewake.errors import Overloaded


class Limits(NamedTuple):
    """How many requests may wait for results, and how many turns for the process, at once."""

    waiting: int = 500
    backlog: int = 1_000


LIMITS = Limits()
"""What a server takes on that is told nothing else."""


class Load:
    """The load of one app. Raises `Overloaded` for what is beyond it."""

    def __init__(self, engine: Engine, limits: Limits) -> None:
        self._turns = engine.services.turns
        self._limits = limits
        self._waiting = 0
        self._starting = 0

    def check(self) -> None:
        """Raise `Overloaded` if no run can be started now."""
        if self._starting + len(self._turns) < self._limits.backlog:
            return
        # Where steps run, a turn waits for them and not for this process.
        behind = sum(not turn.steps for turn in self._turns.values())
        if self._starting + behind >= self._limits.backlog:
            raise Overloaded("the server has more to do than it gets done: nothing was started")

    @contextmanager
    def starting(self) -> Iterator[None]:
        """Start a run within the block."""
        self.check()
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    @contextmanager
    def waiting(self, wait: float) -> Iterator[None]:
        """Wait within the block for so many seconds, if for any."""
        if not wait:
            yield
            return
        if self._waiting >= self._limits.waiting:
            raise Overloaded("too many requests wait for results: ask without waiting, or later")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

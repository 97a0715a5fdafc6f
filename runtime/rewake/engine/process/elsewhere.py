"""Runs and tasks that only another process can carry on: they are put back, not failed.

Such are a pickle of another Python minor or signed by a key that is not known here, a task or
workflow that this app lacks, and a run of a newer runtime. Whoever puts one back leaves it alone
for a growing while, so that another gets it first, and warns once a reason.
"""

from __future__ import annotations

import logging

from rewake.clock import Clock
from rewake.engine.process.aside import Aside
from rewake.records import Millis

log = logging.getLogger("rewake.engine")

WAIT = 2_000
"""Milliseconds before what was put back is offered again; this process waits longer."""
LONGEST = 60_000
"""The longest that this process leaves alone what it has put back."""
MOST = 10_000
"""The most runs and tasks, and reasons, that are remembered."""


class Elsewhere:
    """What this process has put back."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._aside: Aside[tuple[str, str]] = Aside(clock, WAIT, LONGEST)
        self._told: set[str] = set()

    def is_aside(self, run: str, key: str) -> bool:
        """Whether this process leaves the task, or with `key=""` the run, alone for now."""
        return (run, key) in self._aside

    def put_back(self, run: str, key: str, reason: str) -> Millis:
        """Leave it alone. Returns the moment from which on others may have it."""
        self._aside.put((run, key))
        if len(self._aside) > MOST:
            self._aside.drop_oldest()
        level = logging.DEBUG if reason in self._told else logging.WARNING
        what = f"task {key} of run {run}" if key else f"run {run}"
        log.log(level, "%s is put back for another process: %s", what, reason)
        if len(self._told) < MOST:
            self._told.add(reason)
        return self._clock.now() + WAIT

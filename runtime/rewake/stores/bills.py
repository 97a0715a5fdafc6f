"""What runs use of services that bill each request: counted, and kept in their headers.

What this process has used for a run is added to the run's header in a write that is made to it
anyway: counting costs no request, and the numbers of several processes add up. A write of a header
does not know yet what it uses itself, so it adds what it may use, and the difference follows with
the next one. Looks at what is due and lists are of no run. A request of which nobody knows whether
it was carried out is not counted, or twice: this tells what a run costs, and decides nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Final

WRITES, READS, PUTS, GETS, SENDS = "writes", "reads", "puts", "gets", "sends"
"""The fields of a header: units of writes and of reads, large values, messages."""
MOST_RUNS = 10_000
"""Of so many runs is kept what their headers do not have yet: some are only looked at."""

_run: ContextVar[str] = ContextVar("billed_run", default="")


class Bills:
    """What this process has used for each run, and its header does not have yet.

    Any thread may count: the one that keeps claims asks for the same runs.
    """

    def __init__(self) -> None:
        self._open: Final[OrderedDict[str, dict[str, float]]] = OrderedDict()
        self._lock = threading.Lock()

    @contextmanager
    def of(self, run: str) -> Iterator[None]:
        """Within it, what is consumed is for this run; empty: for none."""
        before = _run.set(run)
        try:
            yield
        finally:
            with suppress(ValueError):  # a call that was given up is closed in another context
                _run.reset(before)

    def consumed(self, what: str, units: float) -> None:
        """So many units were consumed by a request that was made within `of`."""
        if run := _run.get():
            self.note(run, {what: units})

    def note(self, run: str, used: Mapping[str, float]) -> None:
        """Count what was used for a run."""
        with self._lock:
            counted = self._open.setdefault(run, {})
            for what, units in used.items():
                counted[what] = counted.get(what, 0) + units
            self._open.move_to_end(run)
            if len(self._open) > MOST_RUNS:
                self._open.popitem(last=False)

    def sent(self, runs: Iterable[str]) -> None:
        """Count messages, each by the run that it is about."""
        for run in runs:
            self.note(run, {SENDS: 1})

    def take(self, run: str) -> dict[str, int]:
        """What is to be added to a header; a part of a unit waits until there is a whole one."""
        with self._lock:
            counted = self._open.pop(run, {})
        whole = {what: int(units) for what, units in counted.items()}
        parts = {what: left for what, units in counted.items() if (left := units - whole[what])}
        if parts:
            self.note(run, parts)
        return {what: units for what, units in whole.items() if units}


def units_of(consumed: Any) -> float:
    """The units of what DynamoDB says that a request consumed, with its indexes.

    None: it says nothing, as of a write whose condition did not hold, which is a unit.
    """
    if consumed is None:
        return 1
    each = consumed if isinstance(consumed, list) else [consumed]
    return sum(float(one["CapacityUnits"]) for one in each)

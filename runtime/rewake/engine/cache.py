"""Suspended instances, kept while there is room, so that a resume costs only what is new.

An instance may be dropped at any moment. One that was overtaken is recognised by the count and
mark that it was kept with. Nothing depends on this cache but speed.
"""

from __future__ import annotations

from collections import OrderedDict

from rewake.engine.arrivals import Arrivals
from rewake.records import Header
from rewake.replay.execution import Execution


class Cache:
    """At most `size` suspended executions; the one suspended longest ago is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, tuple[int, str, Execution, Arrivals]] = OrderedDict()

    def keep(self, header: Header, execution: Execution, arrivals: Arrivals | None = None) -> None:
        """Keep an instance that is exactly at this header's count and mark."""
        if self._size < 1:
            execution.drop()
            return
        # Another invocation may have overtaken this one between its commit and here.
        self.drop(header.run)
        self._kept[header.run] = (header.count, header.mark, execution, arrivals or Arrivals())
        while len(self._kept) > self._size:
            _, (_, _, oldest, _) = self._kept.popitem(last=False)
            oldest.drop()

    def take(self, header: Header) -> Execution | None:
        """The instance that goes on from exactly this header, if there is one."""
        kept = self._kept.pop(header.run, None)
        if kept is None:
            return None
        count, mark, execution, _ = kept
        if (count, mark) == (header.count, header.mark):
            return execution
        execution.drop()
        return None

    def arrivals(self, run: str) -> Arrivals | None:
        """What the suspended instance of a run has read, and what was heard since."""
        kept = self._kept.get(run)
        return None if kept is None else kept[3]

    def drop(self, run: str) -> None:
        """Drop the instance of a run."""
        kept = self._kept.pop(run, None)
        if kept is not None:
            kept[2].drop()

    def clear(self) -> None:
        """Drop all instances."""
        while self._kept:
            self._kept.popitem()[1][2].drop()

"""Suspended instances, kept while there is room, so that a resume costs only what is new.

An instance may be dropped at any moment. Nothing depends on this cache but speed. One that was
overtaken, as another process went on with its run, is behind by what that one committed. It says
where it was kept, and goes on from there (`Store.since`), if the history does.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from rewake.engine.instances.arrivals import Arrivals
from rewake.engine.instances.inbox import Inbox
from rewake.kinds import Kind
from rewake.records import Header
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.stores.reads import Tail, tail_of


@dataclass(slots=True, eq=False)
class Kept:
    """An instance, and the header with which it was suspended, as far as its history goes."""

    execution: Execution
    arrivals: Arrivals
    inbox: Inbox
    count: int
    mark: str
    base: str
    tail: Tail
    """Of the entries in the header itself, which would take more room than all else here."""

    def is_at(self, header: Header) -> bool:
        """Whether it goes on from exactly this header."""
        return (self.count, self.mark) == (header.count, header.mark)


class Cache:
    """At most `size` suspended executions; the one suspended longest ago is dropped first."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[str, Kept] = OrderedDict()

    def keep(
        self,
        header: Header,
        execution: Execution,
        arrivals: Arrivals | None = None,
        inbox: Inbox | None = None,
    ) -> None:
        """Keep an instance that is exactly at this header's count and mark."""
        if self._size < 1:
            execution.drop()
            return
        # Another invocation may have overtaken this one between its commit and here.
        self.drop(header.run)
        where = header.count, header.mark, header.base, tail_of(header.tail)
        made = Kept(execution, arrivals or Arrivals(), inbox or Inbox(), *where)
        self._kept[header.run] = made
        while len(self._kept) > self._size:
            _, oldest = self._kept.popitem(last=False)
            oldest.execution.drop()

    def take(self, run: str) -> Kept | None:
        """The instance of a run, if there is one, which may be behind."""
        return self._kept.pop(run, None)

    def at(self, header: Header) -> Execution | None:
        """The instance that is exactly at this header, if there is one, which stays here."""
        kept = self._kept.get(header.run)
        return kept.execution if kept is not None and kept.is_at(header) else None

    def open_at(self, header: Header, key: str, kind: Kind) -> OpenOp | None:
        """What the instance at this header waits for at this key, if it is of this kind.

        A run may wait for thousands, and who decides one of them need not read them all.
        """
        execution = self.at(header)
        found = None if execution is None else execution.open.get(key)
        return found if found is not None and found.kind is kind else None

    def arrivals(self, run: str) -> Arrivals | None:
        """What the suspended instance of a run has read, and what was heard since."""
        kept = self._kept.get(run)
        return None if kept is None else kept.arrivals

    def drop(self, run: str) -> None:
        """Drop the instance of a run."""
        kept = self._kept.pop(run, None)
        if kept is not None:
            kept.execution.drop()

    def clear(self) -> None:
        """Drop all instances."""
        while self._kept:
            self._kept.popitem()[1].execution.drop()

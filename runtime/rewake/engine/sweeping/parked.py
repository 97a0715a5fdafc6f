"""What a look at the open operations of a parked run finds: whether it may go on, and what is next.

A look reads all that is open, so there must not be many of it where that is much. The next one is a
grace away as long as something may have been lost, for a wide run longer; where nothing but an
arrival may have been, that time grows with the time that the run is parked. And a run is woken by
as many outcomes as it waits for (`Header.needs`), not by fewer: to wake it reads them all, and
where it is in no memory its history as well.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewake.records import Header, Millis, Operation, Scheduled
from rewake.stores.writes import read_at

MANY = 2_000
"""Of so many that are open, looks are a grace apart; of more accordingly longer."""
RARER = 8
"""A look for a lost arrival comes after this part of the time that a run is parked."""


class Parked:
    """What is found of a run that is parked so, with these `awaited` operations open."""

    def __init__(
        self, header: Header, awaited: Sequence[Scheduled], now: Millis, grace: Millis
    ) -> None:
        self.asked = [entry for entry in awaited if entry.kind.traits.dispatched]
        """Those that an invocation of their own carries out."""
        self._header = header
        self._others = len(awaited) - len(self.asked)
        self._now = now
        self._apart = grace * (len(self.asked) // MANY)
        self._soon = now + max(grace, self._apart)
        self._settled = self._failed = 0
        self._moments: list[Millis] = []
        self._ended: list[Millis] = []

    def soon(self) -> None:
        """Note that something may get lost that is under way."""
        self._moments.append(self._soon)

    def look_at(self, *moments: Millis) -> None:
        """Note that there is something to look at then."""
        self._moments += moments

    def ended(self, operation: Operation) -> None:
        """Note an outcome that the run has not observed."""
        outcome = operation.outcome
        self._settled += 1
        self._failed += outcome is not None and outcome.failure is not None
        # It has no clock before it has observed anything.
        parked = max(0, self._now - max(self._header.clock, self._header.created))
        self._ended.append(max(self._soon, self._now + parked // RARER))

    @property
    def goes_on(self) -> bool:
        """Whether the run may go on by what has ended; all of other kinds may have, too."""
        header, ended = self._header, self._settled + self._others
        enough = ended >= min(header.needs, len(self.asked) + self._others)
        return self._settled > 0 and (enough or self._failed > -header.spared)

    @property
    def missed(self) -> bool:
        """Whether there are more outcomes than arrived: no number tells a turn to read those."""
        read = read_at(self._header)
        return self._settled > (0 if read is None else self._header.arrivals - read)

    @property
    def rests(self) -> bool:
        """Whether nothing is under way of what has not ended."""
        return not (self._moments or self.goes_on)

    def next(self) -> Millis | None:
        """When to look again; None: there is nothing to look for."""
        moments = self._moments + self._ended
        return max(min(moments), self._now + self._apart) if moments else None

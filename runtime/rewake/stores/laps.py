"""The laps of a run in the store: how one begins, and what becomes of those before.

`continue_as_new` ends a lap. One write of the header begins the next: the history is from then on
what the new lap begins with, in a new round, so no place, instance or outcome of the old one is
taken for one of the new. It holds only if nothing has arrived, as an end does: so a request to
cancel is observed by the lap that it was made in, and nothing that was delivered is passed over.
What a request to cancel left behind goes with its lap. Only of a lap whose end is on record already
(what it answered to updates is committed first) a request may come too late: the next one gets it.

1. Until then the old lap is whole. A death before it leaves the old history, whose last part runs
   again; a death after it leaves a lap that begins as a run does.
2. Of the lap before, the items stay until the next one begins: attempts that were cancelled hear
   of it there, and who follows the run reads what it said. Nothing of it is in the new history but
   what its body logged and emitted, which is carried over for those who had not read it yet.
3. All that is older is removed, a few items at a time, by whoever has the run (`look_after_laps`):
   so a run is never larger than two laps. `LapState.cleared` says that it is done, and goes with
   the next commit: so it costs no write of its own, and a death repeats it.
4. What comes late for an earlier lap is told by its key: no task of it begins, and what an attempt
   of one that is removed came to is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from rewake.kinds import OutcomeKind
from rewake.laps import FIRST, lap_of, prefix_of
from rewake.noted import LapState
from rewake.records import Entry, Header, Operation, Outcome
from rewake.stores import layout
from rewake.stores.answers import Arrived, Committed, Fenced
from rewake.stores.blobs import of_lap
from rewake.stores.keys import (
    CHUNKS,
    LOGS,
    OPERATIONS,
    SEEN,
    STREAM,
    lap_of_chunk,
    run_partition,
    signal_key,
    stream_number,
)
from rewake.stores.merging import everything
from rewake.stores.removal import FEW, Removal
from rewake.stores.suspects import absolved


class Laps(Removal):
    """The writes of the protocol that begin a lap, and remove what is left of earlier ones."""

    async def next_lap(
        self, held: Header, entries: Sequence[Entry], *, cancels: int
    ) -> Committed | Fenced | Arrived:
        """Begin the next lap with these entries, unless something has arrived.

        `cancels`: how many requests to cancel the lap that ends has observed.
        """
        lap = replace(held.lap, number=held.lap.number + 1)
        late = held.cancels - cancels
        reason = held.cancel if late else None
        onto = replace(held, base="", tail=[], count=0, asks=False, cancel=reason, lap=lap)
        changes = {
            "round": held.round + 1,
            "lap": lap,
            "asks": False,
            "cancel": reason,
            "cancels": late,
            "wake": None,
            "check_at": None,
            "apart": False,
            "hears": "",
            **absolved(held),
        }
        return await self._append(held, entries, changes, arrivals=held.arrivals, onto=onto)

    async def look_after_laps(
        self, header: Header, *, cancel: bool, signals: Sequence[str] = ()
    ) -> LapState:
        """Remove what the laps before the last one have left. Returns what is to be noted of that.

        `cancel`: what the last one has left open may still have to be cancelled. `signals`: the ids
        of those that the laps before it have consumed.
        """
        lap = header.lap
        if lap.cleared == lap.number:
            return lap
        if cancel:
            await self._cancel_lap(header, lap.number - 1)
        await self._remove_chunks(header)
        places = [signal_key(header.run, each) for each in signals]
        for first in range(0, len(places), FEW):
            await self._gone(places[first : first + FEW])
        for old in range(max(FIRST, lap.cleared - 1), lap.number - 1):
            await self._remove_lap(header, old)
        await self._remove_batches(header)
        behind = await self.streams.next(header.run)
        return replace(lap, cleared=lap.number, gone=lap.old, old=behind)

    async def _is_removed(self, run: str, lap: int) -> bool:
        """Whether the items of a lap are removed, or may be at any moment."""
        found = await self.find(run)
        return found is None or found.lap.number > lap + 1

    async def _cancel_lap(self, header: Header, lap: int) -> None:
        partitions = self.layout.partitions(header, layout.OPERATIONS)
        found: list[Operation]
        found = await everything(self._table, partitions, OPERATIONS + prefix_of(lap))
        now, cancelled = self._clock.now(), Outcome(OutcomeKind.CANCELLED)
        for item in found:
            if lap_of(item.key) == lap and item.kind.traits.awaited and item.outcome is None:
                await self.settle(item, cancelled, now)

    async def _remove_lap(self, header: Header, lap: int) -> None:
        # The large values of the first lap lie with what is the run's own, and go with that.
        while lap > FIRST and await self.remove_values(of_lap(header.run, lap)):
            pass
        for partition in self.layout.partitions(header, layout.STEPS):
            for letter in (OPERATIONS, LOGS, SEEN):
                await self._remove_where(
                    partition,
                    letter + prefix_of(lap),
                    lambda sort, letter=letter: lap_of(sort[len(letter) :]) == lap,  # type: ignore[misc]
                )

    async def _remove_chunks(self, header: Header) -> None:
        """Remove the chunks of earlier laps: no history has them any more."""
        lap, where = header.lap.number, run_partition(header.run)
        await self._remove_where(where, CHUNKS, lambda sort: lap_of_chunk(sort) < lap)

    async def _remove_batches(self, header: Header) -> None:
        """Remove what attempts of laps before the last one have said."""
        old, where = header.lap.old, run_partition(header.run)
        if old:
            await self._remove_where(where, STREAM, lambda sort: stream_number(sort) < old)

    async def _remove_where(self, where: str, prefix: str, is_old: Callable[[str], bool]) -> None:
        cursor: str | None = None
        while True:
            page = await self._table.query(where, prefix, limit=FEW, cursor=cursor)
            keys = [key for key, _ in page.items if is_old(key.sort)]
            if keys:
                await self._gone(keys)
            # What is kept is of the newest laps: of what lies in its order, none behind it is old.
            if page.cursor is None or (prefix == STREAM and len(keys) < len(page.items)):
                return
            cursor = page.cursor

"""Creating a run that begins with a history: a fork of another one.

What is copied is written first, and is of nobody before the new run's header names it. So a note
comes before all of it, and goes once the header is there. The note of a fork that was never made is
due an hour later, among what is to be removed: a stone is put in the place of the header, so that
this run can never begin any more, and clears it all as that of any run does. Until then the same
fork, by the same id, goes on with what is there; another one of that id is refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.errors import RunConflict
from rewake.ledger import Forking, View
from rewake.noted import LapState, Origin
from rewake.records import Entry, Header, Millis, Operation
from rewake.states import RunState
from rewake.stores.ended import removal_due
from rewake.stores.keys import forking_key, header_key
from rewake.stores.layout import OPERATIONS
from rewake.stores.turns import Turns
from rewake.stores.writes import asks

GIVEN_UP: Millis = 3_600_000
"""So long after it was begun a fork is given up."""


class Forks(Turns):
    """The creation of forks."""

    async def fork(
        self, header: Header, entries: Sequence[Entry], items: Sequence[Operation]
    ) -> tuple[Header, bool]:
        """Create a run of this history unless it exists. Returns its header, and whether it is new.

        Its items are put first, unless they are there, for they never change. It is recognised as
        `start` recognises a run. Raises `RunConflict` if another fork is made under its id.
        """
        if (there := await self.standing(header.run)) is not None:
            return there, False  # nothing may be put beside it
        header.mark, now = self._mark(), self._clock.now()
        await self._note_fork(header, now)
        placed = await self.offload(header.run, entries)
        for item in items:
            item.written = now
            assert item.outcome is not None
            value = await self._blobs.offload(header.run, item.outcome.value, key=item.key)
            item.outcome = msgspec.structs.replace(item.outcome, value=value)
            await self._put(self.layout.item(item), item, absent=True)

        async def work() -> tuple[Header, bool]:
            header.asks, header.wide = asks(placed), self.layout.wide(placed, header.wide)
            base, tail = await self._place(header, placed, header.mark)
            new = {"count": len(placed), "written": now, "base": base, "tail": tail}
            made = msgspec.structs.replace(header, **new)
            view = View(header.run, header.workflow, header.created)
            await self.listed.put(view)
            await self.labelled.put(view, header.labels or {})
            written = await self._put(header_key(header.run), made, absent=True)
            current: Header = written.item
            mine = (current.seed, current.created) == (header.seed, header.created)
            return current, written.ok or mine

        found = await self._together(work)
        await self._gone([forking_key(header.run)])
        return found

    async def _note_fork(self, header: Header, now: Millis) -> None:
        assert header.origin is not None
        of, key = header.origin.run, header.origin.key
        due = removal_due(now + GIVEN_UP)
        note = Forking(header.run, of, key, header.lap.number, due, now)
        written = await self._put(forking_key(header.run), note, absent=True)
        found: Forking = written.item
        if Origin(found.of, found.key) != header.origin:
            told = f"run {header.run!r} is being made as another one"
            raise RunConflict(told, run=header.run)

    async def give_up_fork(self, run: str, now: Millis) -> None:
        """Let a fork never begin that was not made by now, and what was copied for it go."""
        place = forking_key(run)
        note: Forking | None = await self._again(lambda: self._table.get(place))
        if note is None or note.due > removal_due(now):
            return
        stone = Header(run, "", now, seed=0, runtime=0, state=RunState.REMOVED)
        stone.was, stone.due, stone.written = RunState.CANCELLED, removal_due(now), now
        stone.wide, stone.lap = OPERATIONS, LapState(note.lap, note.lap)
        written = await self._put(header_key(run), stone, absent=True)
        found: Header | None = written.item
        if found is not None and found.state is not RunState.REMOVED:
            await self._gone([place])

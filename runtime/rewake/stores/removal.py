"""Removing runs that have ended, so that each death leaves a whole run or a removal that goes on.

1. One write of the header makes a *stone* of it: the run is `REMOVED`, its header names nothing any
   more and keeps none of its texts. From then on nobody finds the run, and nothing of it can go on.
   The same write makes the stone due, so that whoever dies in what follows, another goes on.
2. Its values, its items and its view go, a few at a time (`clear`). Nothing names them any more, so
   neither the order nor the number of those who do so matters.
3. Once all is gone, and the run ended so long ago that nothing late can come (`later`), the stone
   waits until its id may be forgotten (`remembered`), is cleared once more, and goes. It goes only
   as the stone that was read (`Table.delete` with a condition), for its place may be used again.

What comes late for a run finds a stone, or nothing: no move begins in `REMOVED`, and who claims a
task by a message reads the header first. What a process writes that had stood still since before
the removal is cleared with the stone.

**The runs of one key stay without a gap.** The stone of the first one says by its `floor` which is
the first that may be there. The stone of a later one goes only when the floor is just below it: the
floor is raised first. The first stone goes when no run of its key is left, and a start that begins
the next one moves that on before it does. So a key counts on for as long as anything of it is
there, and two runs of one key could begin only if a process stood still between two of its writes
for as long as ids are remembered.

**Ended runs are due behind all that lives.** Their due times have `ENDED` added: no look at what
lives, and none at what waits, comes to them, however many they are; whoever removes them asks for
that part of the index alone. So they cost one write of the index at their end, and one as they go.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from rewake.laps import FIRST
from rewake.ledger import Cached, View
from rewake.records import Header, Millis
from rewake.states import MOVES, TERMINAL, Move, RunState
from rewake.stores import layout
from rewake.stores.blobs import of_lap
from rewake.stores.ended import ENDED, ended_at, removal_due
from rewake.stores.generations import generation, place_of
from rewake.stores.joins import Joins
from rewake.stores.keys import header_key
from rewake.stores.table import Check, Due, Key
from rewake.stores.writes import UNOWNED, begins

FEW = 25
"""The most items, and the most values, that one step removes."""
_BEFORE = Due(ENDED, Key("", ""))
_KEPT = {
    *("run", "workflow", "created", "seed", "runtime", "state", "epoch", "count", "arrivals"),
    *("depth", "round", "lap", "clock", "changed", "written", "mark", "was", "floor", "due"),
    *("wide", "labels", "erased"),
}
"""What a stone has of its run: nothing that names anything, and no text of users but its labels,
until the list of those has it no more."""
_CLEARED: Mapping[str, Any] = {
    field.name: None
    for field in msgspec.structs.fields(Header)
    if field.name not in _KEPT and field.name not in UNOWNED
} | dict(UNOWNED)


class Removal(Joins):
    """The removal of ended runs. `remembered` (ms) is as in the text above, as `later`."""

    remembered: Millis = 30 * 86_400_000

    async def to_remove(self, now: Millis, limit: int) -> list[Key]:
        """The headers of ended runs, and stones, that are to be looked at by now."""
        found = await self._table.due(removal_due(now), limit=limit, after=_BEFORE)
        return [due.key for due in found]

    async def overdue(self, now: Millis, limit: int) -> list[Millis]:
        """Since when those, at most so many, are to be looked at: the longest first."""
        found = await self._table.due(removal_due(now), limit=limit, after=_BEFORE)
        return [due.due - ENDED for due in found]

    async def remove(
        self, ended: Header, now: Millis, *, at: Millis | None = None, erased: bool = False
    ) -> Header | None:
        """Make a stone of an ended run, which is to be cleared by then (`at`).

        `erased`: what late comes to the archive is to be cleared, too.

        None if it is not as it was read: it goes on, or somebody holds it. A stone stays as it is.
        """
        if ended.state is RunState.REMOVED:
            return ended
        mark, place = self._mark(), place_of(ended.run)
        set_: dict[str, Any] = {
            **_CLEARED,
            "mark": mark,
            "state": MOVES[Move.REMOVE].target,
            "was": ended.state,
            "due": removal_due(now + self.later if at is None else at),
            "floor": 2 if place is not None and place[1] == 1 else 0,
            "erased": erased,
        }
        same = [begins(Move.REMOVE), Check("mark", "=", ended.mark), Check("hold", "=", False)]
        written = await self._update(header_key(ended.run), when=[same], set=set_)
        found: Header | None = written.item
        if found is None or (not written.ok and found.mark != mark):
            return None
        return found

    async def clear(self, stone: Header) -> bool:
        """Remove some of what is left of a removed run. Whether there may be more."""
        run = stone.run
        laps = range(max(FIRST, stone.lap.cleared - 1), stone.lap.number + 1)
        for place in {run, *(of_lap(run, lap) for lap in laps)}:
            if await self.remove_values(place):
                return True
        for partition in self.layout.partitions(stone, layout.STEPS):
            page = await self._table.query(partition, limit=FEW + 1)
            for _, item in page.items:
                if isinstance(item, Cached):
                    await self.cached.forget(item.id, run, self._mark)
            keys = [key for key, _ in page.items if key != header_key(run)]
            if keys:
                await self._gone(keys)
            if len(keys) >= FEW:
                return True
        view = View(run, stone.workflow, stone.created, stone.depth > 0)
        await self.listed.remove(view)
        if stone.labels is not None:
            await self.labelled.remove(view, stone.labels)
            same = [Check("mark", "=", stone.mark), Check("state", "=", RunState.REMOVED)]
            await self._update(header_key(run), when=[same], set={"labels": None})
        return False

    async def remove_values(self, place: str) -> bool:
        """Remove some large values of a run, or of one of its laps. Whether there may be more."""
        return await self._again(lambda: self._shelf.delete_blobs(place, limit=FEW))

    async def settle_stone(self, stone: Header, now: Millis) -> None:
        """Let a stone of which all is cleared wait, or go if its time is over."""
        place = place_of(stone.run)
        if now < ended_at(stone) + self.later:
            if stone.due is not None and stone.due <= removal_due(now):
                await self._move(stone, ended_at(stone) + self.later)
        elif now < ended_at(stone) + self.remembered:
            await self._move(stone, ended_at(stone) + self.remembered)
        elif place is None:
            await self._take_away(stone)
        elif place[1] == 1:
            if await self.standing(generation(stone.run, stone.floor)) is None:
                await self._take_away(stone)
            else:  # it moves on as that goes
                await self._move(stone, None)
        else:
            await self._fold(stone, *place, now)

    async def erase_stone(self, stone: Header) -> None:
        """Note that a run that had gone was erased: what late comes to the archive goes too."""
        same = [Check("mark", "=", stone.mark), Check("state", "=", RunState.REMOVED)]
        await self._update(header_key(stone.run), when=[same], set={"erased": True})

    async def look_soon(self, stone: Header, now: Millis) -> None:
        """Let a stone be looked at from then on, for more of its run is left."""
        await self._move(stone, now)

    async def _fold(self, stone: Header, first: str, number: int, now: Millis) -> None:
        """Let the stone of a later run of a key go, once those before it have gone."""
        below = [Check("state", "=", RunState.REMOVED), Check("floor", "=", number)]
        due = removal_due(now + self.remembered)
        mark = self._mark()
        raised = {"floor": number + 1, "due": due, "mark": mark}
        written = await self._update(header_key(first), when=[below], set=raised)
        found: Header | None = written.item
        if found is None or found.floor > number:
            await self._take_away(stone)
        else:
            await self._move(stone, now + max(1, self.remembered // 30))

    async def followed(self, before: Header) -> Header | None:
        """Mark a failed run, or the stone of a key, as one that a newer run follows.

        None if that may be; else what stands in its place.
        """
        if before.state is RunState.REMOVED:
            return await self._go_on_from(before)
        found = await self.supersede(before.run)
        return None if found.state in TERMINAL else found

    async def _go_on_from(self, stone: Header) -> Header | None:
        """Note that a run of a key is begun of which no older one is left but this stone.

        None if it may be; else what stands in the place of the first run, or stood there.
        """
        mark, due = self._mark(), removal_due(self._clock.now() + self.remembered)
        same = [Check("state", "=", RunState.REMOVED), Check("floor", "=", stone.floor)]
        written = await self._update(
            header_key(stone.run), when=[same], set={"mark": mark, "due": due}
        )
        found: Header | None = written.item
        return None if found is not None and found.mark == mark else found or stone

    async def _move(self, stone: Header, moment: Millis | None) -> None:
        """Look at a stone again at this moment, unless it has changed."""
        due = None if moment is None else removal_due(moment)
        same = [Check("mark", "=", stone.mark), Check("state", "=", stone.state)]
        await self._update(header_key(stone.run), when=[same], set={"due": due})

    async def _take_away(self, stone: Header) -> None:
        """Remove a stone, unless it has changed."""
        same = [Check("mark", "=", stone.mark), Check("state", "=", RunState.REMOVED)]
        await self._again(lambda: self._table.delete([header_key(stone.run)], when=[same]))

    async def _gone(self, keys: Sequence[Key]) -> None:
        await self._again(functools.partial(self._table.delete, keys))

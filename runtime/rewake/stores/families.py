"""What a run is asked of another one, and what is written down so that it hears of its end.

**A child is there once its header is.** Who begins it finds out by that alone whether to begin it,
so to ask for it twice is to ask for it once. Who calls off one that is not there yet puts a stone
in its place, as of a run that was removed: whoever then comes to begin it finds that.

**A child is not finished until whoever waits for it knows.** Its header names the operation that
waits for it (`Header.parent`); operations of other runs put an item beside it (`Watcher`) and then
say so in the header. That says as well that something arrived: an end that had not read it does
not hold. So an end either is there, and whoever came to wait reads it, or is written by somebody
who knows that others wait; then the header stays due, for that, until they have been told.

**A round is of whoever waits.** If that was retried, it waits in a new round, and says so.
"""

from __future__ import annotations

from collections.abc import Sequence

from rewake.errors import RunNotFound
from rewake.kin import Parent, Watcher
from rewake.kinds import Kind
from rewake.records import Header, Millis, Scheduled, Withdrawn
from rewake.states import SHOWN, Move, RunState
from rewake.stores.cancels import Cancels
from rewake.stores.ended import removal_due
from rewake.stores.keys import WATCHERS, header_key, run_partition, watcher_key
from rewake.stores.merging import everything
from rewake.stores.table import Check
from rewake.stores.writes import begins


class Families(Cancels):
    """What runs ask of one another. `later` (ms): how long after an end a late message may come."""

    later: Millis = 600_000

    async def call_off(self, child: str, reason: str, of: str | None = None) -> Header:
        """Ask a run to cancel, unless somebody has. Returns its header, or the stone in its place.

        `of`: only if this run has begun it. One that is not there yet will never begin.
        """
        now, place = self._clock.now(), header_key(child)
        stone = Header(child, "", now, seed=0, runtime=0, state=RunState.REMOVED)
        stone.was, stone.due, stone.written = RunState.CANCELLED, removal_due(now + self.later), now
        found: Header | None = await self._again(lambda: self._table.get(place))
        if found is None:
            written = await self._put(place, stone, absent=True)
            found = written.item
            assert found is not None
            if written.ok or found.state is RunState.REMOVED:
                return found
        if of is not None and (found.parent is None or found.parent.run != of):
            return found
        found = await self.set_right(found)
        written = await self._ask_to_cancel(child, reason, 0, even_stuck=True)
        changed: Header | None = written.item
        if changed is None:
            return stone
        if changed.state in begins(Move.CANCEL).value:
            self._here.called_off(child)
        return changed

    async def disown(self, run: str, entry: Scheduled | Withdrawn) -> None:
        """Ask the run to cancel that was begun by an operation which nobody wants any more."""
        if isinstance(entry, Withdrawn):
            child = entry.held
        else:
            child = entry.about.run if entry.about is not None and entry.about.held else ""
        if child:
            await self.call_off(child, f"run {run} does not wait for it any more", of=run)

    async def adopt(self, child: Header, parent: Parent) -> Header:
        """Let a run tell this operation of its end, which was asked for anew by a retry.

        Returns the run as it stands then. Raises `RunNotFound`.
        """
        while True:
            known = child.parent
            if known is None or (known.round >= parent.round and known.waits):
                return child
            written = await self._update(
                header_key(child.run),
                when=[[Check("state", "in", SHOWN), Check("arrivals", "=", child.arrivals)]],
                set={"parent": parent},
                add={"arrivals": 1},
            )
            found: Header | None = written.item
            if found is None or found.state is RunState.REMOVED:
                raise RunNotFound(f"there is no run {child.run!r} any more")
            if written.ok:
                return found
            child = found

    async def watch(self, run: str, watcher: Watcher) -> tuple[Header, Watcher | None]:
        """Let a run tell this operation of another run of its end. Returns the run as it stands.

        And what was kept of the operation before, if it asked before. Raises `RunNotFound`.
        """
        place, before = watcher_key(run, watcher), await self._watcher(run, watcher)
        if before is None or before.round < watcher.round:
            # Who stood still since a retry must not take back what that has said.
            older = [[Check("round", "absent")], [Check("round", "<", watcher.round)]]
            new = {"round": watcher.round}
            await self._update(place, when=older, set=new, create=watcher)
        found = await self.header(run)
        if not found.watched:
            written = await self._update(
                header_key(run),
                when=[[Check("state", "in", SHOWN)]],
                set={"watched": True},
                add={"arrivals": 1},
            )
            changed: Header | None = written.item
            if changed is None or changed.state is RunState.REMOVED:
                raise RunNotFound(f"there is no run {run!r} any more")
            found = changed
        return found, before

    async def has_older(self, run: str, watcher: Watcher) -> bool:
        """Whether this operation has come to wait in an earlier round, and not in this one yet."""
        before = await self._watcher(run, watcher)
        return before is not None and before.round < watcher.round

    async def _watcher(self, run: str, watcher: Watcher) -> Watcher | None:
        place = watcher_key(run, watcher)
        found: Watcher | None = await self._again(lambda: self._table.get(place))
        return found

    async def watchers(self, run: str) -> Sequence[Watcher]:
        """The operations of other runs that wait for the end of this one."""
        return await everything(self._table, [run_partition(run)], WATCHERS)


def begins_in_vain(entry: Scheduled | Withdrawn) -> bool:
    """Whether a run that is there is asked to cancel if its parent has not heard of its start."""
    if isinstance(entry, Withdrawn):
        return entry.kind is Kind.CHILD_START
    return entry.about is not None and entry.about.tied


def is_waited_for(header: Header) -> bool:
    """Whether operations of other runs have to be told of its end."""
    return header.watched or (header.parent is not None and header.parent.waits)


def is_called_off(header: Header) -> bool:
    """Whether a stuck run was asked to cancel: nobody waits for it then, until it is resumed."""
    return header.state is RunState.STUCK and header.cancels > 0

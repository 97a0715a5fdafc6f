"""How long ended runs are kept, and their removal when that time is over.

An ended run is due for its removal by the policy that stands at its end. When it is due, the policy
of that moment is asked: where it says longer, the run stays; where nobody here knows its workflow,
what was said at its end holds. Stuck runs have not ended, and stay.

Where the policy says so, a run is archived first (`engine/keeping/archiving.py`). One that cannot
be, as the archive is away or this process has none, stays, and is looked at again a little later:
it keeps no other from going. Of a workflow that nobody here knows, runs are archived where there is
an archive: nobody can tell what its policy was.

Each sweep removes a bounded number of items, in steps of a few, after it has looked at all that
lives. It looks whether there is anything to remove once a minute, and goes on with the next sweep
where there is more. All processes of a store may do so at once. An archive that does not answer
holds up no sweep, since these look for what lives: what it is asked goes on beside them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from rewake.app import App
from rewake.clock import Clock
from rewake.engine.keeping.archiving import Archiving
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StoreUnavailable, StuckError
from rewake.keep import Keep
from rewake.records import Header, Millis
from rewake.states import ENDED, RunState
from rewake.stores.ended import ended_at, is_ended_due, removal_due
from rewake.stores.keys import is_event, is_forking, run_of
from rewake.stores.protocol import Store
from rewake.stores.table import Key

log = logging.getLogger("rewake.sweeper")

EVERY: Millis = 60_000
"""How often it is looked whether runs are to be removed."""
STEPS = 40
"""The most steps of one sweep, each of which removes a few items."""
RUNS = 40
"""The most runs that one sweep looks at."""
AGAIN: Millis = 300_000
"""After what time it is tried again to archive a run."""
PASSED, LATER = 1_000, 3_600_000
"""So many are passed over while they are due, as they cannot be read; others are due later."""
TRIES = 3
"""After so many that could not be archived, one sweep tries no other."""
WAITED, PAUSING = 1.0, 20.0
"""So many seconds a sweep waits for the archive; where a process stands still after it, for which
so long it goes on as well.
"""

HANGS = 30.0
"""After so many seconds what else is to be archived does not wait for it."""


class Going(NamedTuple):
    """A run that is being archived, as it was read by this mark."""

    run: str
    mark: str
    work: asyncio.Future[tuple[int, bool]]
    since: float


RemoveEvent = Callable[[Key, Millis], Awaitable[int]]


async def _no_event(_key: Key, _now: Millis) -> int:
    return 0


class Keeping:
    """How long the runs of an app are kept, and who removes them."""

    def __init__(self, app: App, store: Store, clock: Clock, settings: Settings) -> None:
        self._app = app
        self._store = store
        self._clock = clock
        self._keep = settings.keep
        self._looked: Millis | None = None
        self._more = False
        self._unread: set[Key] = set()
        self._failed = 0
        self._pauses = settings.pauses
        self._until = 0.0
        self._going: Going | None = None
        self.archiving: Archiving | None = None
        self.remove_event: RemoveEvent = _no_event
        """Removes an event whose time is over. Returns how many steps that took."""
        store.later, store.remembered = settings.later, settings.remembered

    # --- for how long ------------------------------------------------------------------------

    def due(self, header: Header, state: RunState, ended: Millis) -> Millis | None:
        """The due time of a run that ends in this state at this moment."""
        span = self._policy(header).spans[state]
        return None if span is None else removal_due(ended + span)

    def due_of(self, ended: Header) -> Millis | None:
        """The due time of a run that has ended, for its removal."""
        return self.due(ended, ended.state, ended_at(ended))

    def is_known(self, header: Header) -> bool:
        """Whether this app has the workflow of a run, and so its policy."""
        return header.workflow in self._app.workflows

    def archives(self, ended: Header) -> bool:
        """Whether a run that has ended is archived before it is removed."""
        if not self.is_known(ended):
            return self.archiving is not None
        return ended.state in self._policy(ended).archived

    def _policy(self, header: Header) -> Keep:
        workflow = self._app.workflows.get(header.workflow)
        own = None if workflow is None else workflow.keep
        return self._keep if own is None else own.after(self._keep)

    # --- the removal -------------------------------------------------------------------------

    def hurry(self) -> None:
        """Let the next sweep look: something is to be removed at once."""
        self._more = True

    async def sweep(self) -> None:
        """Remove some of what is to be removed, if it is time to look. It fails no sweep."""
        now = self._clock.now()
        early = self._looked is not None and 0 <= now - self._looked < EVERY
        if early and not self._more:
            return
        self._looked, self._more = now, False
        loop = asyncio.get_running_loop()
        over = loop.time() + (PAUSING if self._pauses else 0)
        try:
            self._more = await self._some(now)
            while self._more and loop.time() < over:  # the next sweep is a minute away
                self._more = await self._some(now)
        except StoreError as error:
            log.warning("ended runs could not be removed: %s", error)

    async def _some(self, now: Millis) -> bool:
        """Remove some. Whether there is more."""
        keys = await self._store.to_remove(now, RUNS + len(self._unread))
        self._unread &= set(keys)  # the others are gone, or come again
        left, self._failed = STEPS, 0
        self._until = asyncio.get_running_loop().time() + (PAUSING if self._pauses else WAITED)
        for key in keys:
            if left <= 0:
                return True
            if key in self._unread:
                continue
            try:
                if is_forking(key):
                    await self._store.give_up_fork(run_of(key), now)
                    left -= 1
                elif is_event(key):
                    left -= await self.remove_event(key, now)
                else:
                    left -= await self._look(run_of(key), now, left)
            except StuckError as error:  # it cannot be read, and must not keep the others
                left -= 1
                await self._pass_over(key, now, error)
        if left <= 0:
            return True
        return len(keys) >= RUNS and left < STEPS and not self._failed  # else each costs a write

    async def _pass_over(self, key: Key, now: Millis, error: StuckError) -> None:
        """Leave what cannot be read to another process: it stays due, or is due again later."""
        if len(self._unread) < PASSED:
            self._unread.add(key)
            log.warning("%s cannot be removed here: %s", run_of(key), error)
            return
        ended = await self._store.standing(run_of(key))
        if ended is not None and ended.state in ENDED:
            await self._store.lay_down(ended, removal_due(now + LATER))

    async def _look(self, run: str, now: Millis, steps: int) -> int:
        """Look at an ended run, or a stone, that may be due. Returns how many steps that took."""
        header = await self._store.standing(run)
        if header is None or not is_ended_due(header.due) or (header.due or 0) > removal_due(now):
            return 0  # the index is late, or another process was quicker
        stone: Header | None = header
        taken = 0
        if header.state in ENDED:
            due = self.due_of(header) if self.is_known(header) else header.due
            if header.hold or due is None or due > removal_due(now):
                await self._store.lay_down(header, None if header.hold else due)
                return 1
            if self.archives(header):
                taken, archived = await self._archive(header, now, steps)
                if not archived:
                    return taken
                steps = max(1, steps - taken)
            stone = await self._store.remove(header, now)
        return taken + (1 if stone is None else await self.clear(stone, now, steps))

    async def _forgotten(self, stone: Header) -> bool:
        """Whether nothing is archived of a run that was erased, also by who stood still since."""
        if not stone.erased or self.archiving is None:
            return True
        try:
            await self.archiving.forget(stone)
        except StoreError as error:
            log.warning("what is archived of run %s stays: %s", stone.run, error)
            return False
        return True

    async def _archive(self, ended: Header, now: Millis, steps: int) -> tuple[int, bool]:
        """Archive some of a run. Returns how many steps that took, and whether it is archived."""
        told, level = "this process has no archive (REWAKE_ARCHIVE)", logging.WARNING
        if self._failed >= TRIES:
            told, level = "others could not be just before", logging.DEBUG
        elif self.archiving is not None:
            try:
                return await self._go_on(self.archiving, ended, steps)
            except StoreError as error:
                told = str(error)
        self._failed += 1
        log.log(level, "run %s stays, as it cannot be archived: %s", ended.run, told)
        await self._store.lay_down(ended, removal_due(now + AGAIN))
        return 1, False

    async def _go_on(self, archiving: Archiving, ended: Header, steps: int) -> tuple[int, bool]:
        """The same, as far as this sweep can wait. Raises `StoreError`."""
        going = self._going
        if going is not None and going[:2] != (ended.run, ended.mark):
            if not await self._is_over(going):
                return self._later(going, steps)
            await self._end()  # nobody has asked what it came to
            going = None
        if going is None:
            archiving.only(ended.run)
            work = asyncio.ensure_future(archiving.some(ended, steps))
            now = asyncio.get_running_loop().time()
            going = self._going = Going(ended.run, ended.mark, work, now)
        if not await self._is_over(going):
            return self._later(going, steps)
        self._going = None
        return going.work.result()

    async def _is_over(self, going: Going) -> bool:
        """Whether it is, once this sweep has waited for it as long as it may."""
        left = self._until - asyncio.get_running_loop().time()
        await asyncio.wait([going.work], timeout=max(0, left))
        if self._pauses and not going.work.done():
            await self._end()  # it would go on at any moment, on connections that are gone
            raise StoreUnavailable(f"the archive did not answer within {PAUSING:g} s")
        return going.work.done()

    def _later(self, going: Going, steps: int) -> tuple[int, bool]:
        """Leave the rest to the next sweep. Raises `StoreUnavailable` if that does not help."""
        since = asyncio.get_running_loop().time() - going.since
        if since < HANGS:
            return steps, False
        told = f"the archive has not answered for {since:.0f} s about run {going.run}"
        raise StoreUnavailable(told)

    async def _end(self) -> None:
        going, self._going = self._going, None
        if going is not None:
            going.work.cancel()
            await asyncio.wait([going.work])
            going.work.cancelled() or going.work.exception()

    async def close(self) -> None:
        """End what is under way, and the connections to the archive."""
        await self._end()
        if self.archiving is not None:
            await self.archiving.close()

    async def clear(self, stone: Header, now: Millis, steps: int) -> int:
        """Remove what is left of a removed run, in at most so many steps. Returns how many."""
        for step in range(1, steps + 1):
            more = await self._store.clear(stone)
            if not more:
                if await self._forgotten(stone):
                    await self._store.settle_stone(stone, now)
                else:
                    await self._store.look_soon(stone, now + AGAIN)
                return step
            await asyncio.sleep(0)  # others may go on in between
        await self._store.look_soon(stone, now)
        return steps

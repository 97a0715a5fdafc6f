"""How long ended runs are kept, and their removal when that time is over.

An ended run is due for its removal by the policy that stands at its end. When it is due, the policy
of that moment is asked: where it says longer, the run stays; where nobody here knows its workflow,
what was said at its end holds. Stuck runs have not ended, and stay.

Each sweep removes a bounded number of items, in steps of a few, after it has looked at all that
lives. It looks whether there is anything to remove once a minute, and goes on with the next sweep
where there is more. All processes of a store may do so at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from rewake.app import App
from rewake.clock import Clock
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StuckError
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
        try:
            self._more = await self._some(now)
        except StoreError as error:
            log.warning("ended runs could not be removed: %s", error)

    async def _some(self, now: Millis) -> bool:
        """Remove some. Whether there is more."""
        keys = await self._store.to_remove(now, RUNS + len(self._unread))
        left = STEPS
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
                self._unread.add(key)
                log.warning("%s cannot be removed here: %s", run_of(key), error)
        return len(keys) >= RUNS and left < STEPS

    async def _look(self, run: str, now: Millis, steps: int) -> int:
        """Look at an ended run, or a stone, that may be due. Returns how many steps that took."""
        header = await self._store.standing(run)
        if header is None or not is_ended_due(header.due) or (header.due or 0) > removal_due(now):
            return 0  # the index is late, or another process was quicker
        stone: Header | None = header
        if header.state in ENDED:
            due = self.due_of(header) if self.is_known(header) else header.due
            if header.hold or due is None or due > removal_due(now):
                await self._store.lay_down(header, None if header.hold else due)
                return 1
            stone = await self._store.remove(header, now)
        return 1 if stone is None else await self.clear(stone, now, steps)

    async def clear(self, stone: Header, now: Millis, steps: int) -> int:
        """Remove what is left of a removed run, in at most so many steps. Returns how many."""
        for step in range(1, steps + 1):
            more = await self._store.clear(stone)
            if not more:
                await self._store.settle_stone(stone, now)
                return step
            await asyncio.sleep(0)  # others may go on in between
        await self._store.look_soon(stone, now)
        return steps

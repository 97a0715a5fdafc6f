"""Claims on runs and tasks: making them, and giving back those that nothing is done under.

Where a lease runs out, its process is taken for dead, and a run or a task whose processes keep
dying is given up. A process that lives and only could not reach its store must not look like
that. So it gives back what it holds: at once, or with each sweep until the store takes it. Until
then it makes no new claim there, so that one process never looks dead twice.
"""

from __future__ import annotations

import logging

from rewake.engine.clock import Clock
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StoreFull, StoreUnavailable
from rewake.records import Header, Millis
from rewake.stores.protocol import Store
from rewake.stores.results import Refused, Taken, TaskClaim

log = logging.getLogger("rewake.engine")

PASSING = (StoreUnavailable, StoreFull)
"""Errors of a store that may take later what it refuses now. Others count as a death would."""
MOST = 10_000
"""How many claims are remembered; older ones are left to their leases."""


class Claims:
    """The claims of one process; `key` is a task's, or empty for the run itself."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._left: dict[tuple[str, str], str] = {}

    async def run(self, run: str, owner: str) -> Header | None:
        """Claim a run; None if there is nothing to claim. Raises `StoreError`."""
        await self._give_back(run, "", 0)
        try:
            return await self._store.claim(run, owner, self._clock.now(), self._settings.lease)
        except PASSING:
            self._leave(run, "", owner)  # it may be held for all that
            raise

    async def task(self, claim: TaskClaim) -> Taken | Refused:
        """Claim a task. Raises `StoreError`."""
        await self._give_back(claim.run, claim.key, 0)
        try:
            return await self._store.claim_task(claim)
        except PASSING:
            self._leave(claim.run, claim.key, claim.owner)
            raise

    async def give_up(self, run: str, key: str, owner: str, wait: Millis | None = None) -> None:
        """Nothing more is done as `owner`: others may go on in `wait` ms, or in a lease."""
        self._leave(run, key, owner)
        try:
            await self._give_back(run, key, self._settings.lease if wait is None else wait)
        except StoreError:
            log.warning("%s could not be handed over yet", key or f"run {run}", exc_info=True)

    async def sweep(self) -> None:
        """Try again to give back what is left. What fails goes to the end of the line."""
        while self._left:
            (run, key), owner = next(iter(self._left.items()))
            try:
                await self._give_back(run, key, self._settings.lease)
            except StoreError:
                log.debug("%s could not be handed over yet", key or f"run {run}", exc_info=True)
                if self._left.get((run, key)) == owner:
                    self._leave(run, key, owner)
                return

    def _leave(self, run: str, key: str, owner: str) -> None:
        self._left.pop((run, key), None)
        self._left[run, key] = owner
        if len(self._left) > MOST:
            del self._left[next(iter(self._left))]

    async def _give_back(self, run: str, key: str, wait: Millis) -> None:
        owner = self._left.get((run, key))
        if owner is None:
            return
        at = self._clock.now() + wait
        if key:
            await self._store.hand_over_task(run, key, owner, at)
        else:
            await self._store.hand_over(run, owner, at)
        if self._left.get((run, key)) == owner:
            del self._left[run, key]

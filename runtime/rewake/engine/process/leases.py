"""Claims on runs and tasks: made, and released when nothing more is done under them.

A lease that runs out looks like the death of its process, and makes a suspect of what was held
(`stores/suspects.py`). So three rules hold for a process that lives.

*It keeps the claims that it works under.* `engine/process/heart.py` does so, from a thread of its
own.

*It releases all other claims.* A process that merely cannot reach its store must not look dead.
`Claims` remembers each claim under which nothing more is done, and tries to release it with every
sweep until that is written. Until then it does not claim the same run or task again: two leases
that run out would count as two deaths.

*It says that it lives*, when it finds that a claim was taken from it: that was no death.

Safety does not depend on leases: the epoch fences a holder that was overtaken. A heartbeat only
keeps others from starting the same work.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

from rewake.clock import Clock
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StoreFull, StoreUnavailable
from rewake.records import Header, Millis
from rewake.stores.answers import Refused, RunClaim, Suspect, Taken, TaskClaim
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")
T = TypeVar("T")

PASSING = (StoreUnavailable, StoreFull)
"""Errors of a store that may take the write later. After any other error, the lease runs out."""
MOST = 10_000
"""The most unreleased claims that are remembered; the leases of older ones run out."""


class Claims:
    """The claims of one process; `key` is a task's, or empty for the run itself."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._unreleased: dict[tuple[str, str], str] = {}
        self.under_way = 0
        """How many claims are being made."""
        self.cut_off: Millis | None = None
        """When the newest was that may still be made by a write whose answer nobody has."""

    def is_making(self) -> bool:
        """Whether a claim may come to be that nobody here knows of yet."""
        cut_off = self.cut_off
        late = cut_off is not None and 0 <= self._clock.now() - cut_off <= self._settings.lease
        return self.under_way > 0 or late

    async def run(self, run: str, claim: RunClaim) -> Header | Suspect | None:
        """Claim a run; None if there is nothing to claim. Raises `StoreError`."""
        await self._release(run, "", 0)
        with self.making(run, "", claim.owner):
            return await self._store.claim(run, claim)

    async def task(self, claim: TaskClaim) -> Taken | Refused:
        """Claim a task that a message asks for, which may have come late. Raises `StoreError`."""
        await self._release(claim.run, claim.key, 0)
        with self.making(claim.run, claim.key, claim.owner):
            return await self._store.claim_task(claim, sure=False)

    def making(
        self, run: str, key: str, owner: str, errors: tuple[type[BaseException], ...] = PASSING
    ) -> Making:
        """Remember a claim that may have been made, if one of `errors` or a cancellation came."""
        return Making(self, (run, key, owner), errors)

    def cut(self, run: str, key: str, owner: str) -> None:
        """Release a claim with the next sweep, should it have been made."""
        self.cut_off = self._clock.now()
        self.remember(run, key, owner)

    def remember(self, run: str, key: str, owner: str) -> None:
        """Release a claim with the next sweep."""
        self._unreleased.pop((run, key), None)
        self._unreleased[run, key] = owner
        if len(self._unreleased) > MOST:
            del self._unreleased[next(iter(self._unreleased))]

    async def release(
        self, run: str, key: str, owner: str, wait: Millis | None = None, why: str = ""
    ) -> None:
        """Release a claim, now or in a sweep: others may go on in `wait` ms (default: a lease).

        `why`: the reason for which a run is put back, for people.
        """
        self.remember(run, key, owner)
        try:
            await self._release(run, key, self._settings.lease if wait is None else wait, why)
        except StoreError:
            log.warning("%s could not be released yet", key or f"run {run}", exc_info=True)

    async def absolve(self, run: str, key: str, owner: str) -> None:
        """Say that the holder of a claim that was taken over lives: no process died under it."""
        try:
            if key:
                await self._store.absolve_task(run, key, owner)
            else:
                await self._store.absolve(run, owner)
        except StoreError:
            log.debug("%s stays a suspect", key or f"run {run}", exc_info=True)

    async def sweep(self, wait: Millis | None = None) -> None:
        """Release the remembered claims until one fails; that one becomes the last.

        Others may go on in `wait` ms (default: a lease).
        """
        wait = self._settings.lease if wait is None else wait
        while self._unreleased:
            (run, key), owner = next(iter(self._unreleased.items()))
            try:
                await self._release(run, key, wait)
            except StoreError:
                log.debug("%s could not be released yet", key or f"run {run}", exc_info=True)
                if self._unreleased.get((run, key)) == owner:
                    self.remember(run, key, owner)
                return

    async def _release(self, run: str, key: str, wait: Millis, why: str = "") -> None:
        owner = self._unreleased.get((run, key))
        if owner is None:
            return
        now = self._clock.now()
        at = now + wait
        if key:
            await self._store.release_task(run, key, owner, at, now)
        else:
            await self._store.release(run, owner, at, why)
        if self._unreleased.get((run, key)) == owner:
            del self._unreleased[run, key]


class Making:
    """The block of `Claims.making`. Not a generator: each task and each turn makes claims."""

    __slots__ = ("_claim", "_claims", "_errors")

    def __init__(
        self, claims: Claims, claim: tuple[str, str, str], errors: tuple[type[BaseException], ...]
    ) -> None:
        self._claims = claims
        self._claim = claim
        self._errors = errors

    def __enter__(self) -> None:
        self._claims.under_way += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._claims.under_way -= 1
        if kind is not None and issubclass(kind, (*self._errors, asyncio.CancelledError)):
            run, key, owner = self._claim
            if owner:
                self._claims.cut(run, key, owner)


async def insist(ask: Callable[[], Awaitable[T]], told: str, clock: Clock, wait: Millis) -> T:
    """Ask a store again, `wait` milliseconds apart, until it answers. `told` is logged once."""
    level = logging.WARNING
    while True:
        try:
            return await ask()
        except PASSING:
            log.log(level, told, exc_info=True)
        level = logging.DEBUG
        await clock.sleep(wait)

"""Leases: claims on runs and tasks, kept while something is done under them, then released.

A lease that runs out looks like the death of its process, and makes a suspect of what was held
(`stores/suspects.py`). So three rules hold for a process that lives.

*It renews the claims that it works under.* `Heart` does so from a thread of its own, so that code
that hogs the event loop keeps its leases.

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
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from rewake.clock import Clock
from rewake.engine.settings import Settings
from rewake.errors import StoreError, StoreFull, StoreUnavailable
from rewake.records import Header, Millis
from rewake.stores.answers import Refused, RunClaim, Suspect, Taken, TaskClaim
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")

PASSING = (StoreUnavailable, StoreFull)
"""Errors of a store that may take the write later. After any other error, the lease runs out."""
AT_ONCE = 500
"""The most leases that are renewed together."""
MOST = 10_000
"""The most unreleased claims that are remembered; the leases of older ones run out."""

Renew = Callable[[], Awaitable[bool]]
"""Renews one lease; False if another has it now."""
Overtaken = Callable[[], None]
"""Called in the engine's event loop when a lease could not be kept."""


class Claims:
    """The claims of one process; `key` is a task's, or empty for the run itself."""

    def __init__(self, store: Store, clock: Clock, settings: Settings) -> None:
        self._store = store
        self._clock = clock
        self._settings = settings
        self._unreleased: dict[tuple[str, str], str] = {}

    async def run(self, run: str, claim: RunClaim) -> Header | Suspect | None:
        """Claim a run; None if there is nothing to claim. Raises `StoreError`."""
        await self._release(run, "", 0)
        with self.making(run, "", claim.owner):
            return await self._store.claim(run, claim)

    async def task(self, claim: TaskClaim) -> Taken | Refused:
        """Claim a task. Raises `StoreError`."""
        await self._release(claim.run, claim.key, 0)
        with self.making(claim.run, claim.key, claim.owner):
            return await self._store.claim_task(claim)

    @contextmanager
    def making(
        self, run: str, key: str, owner: str, errors: tuple[type[BaseException], ...] = PASSING
    ) -> Iterator[None]:
        """Remember a claim that may have been made, if one of `errors` or a cancellation came."""
        failed: tuple[type[BaseException], ...] = (*errors, asyncio.CancelledError)
        try:
            yield
        except failed:
            if owner:
                self._remember(run, key, owner)
            raise

    async def release(self, run: str, key: str, owner: str, wait: Millis | None = None) -> None:
        """Release a claim, now or in a sweep: others may go on in `wait` ms (default: a lease)."""
        self._remember(run, key, owner)
        try:
            await self._release(run, key, self._settings.lease if wait is None else wait)
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
                    self._remember(run, key, owner)
                return

    def _remember(self, run: str, key: str, owner: str) -> None:
        self._unreleased.pop((run, key), None)
        self._unreleased[run, key] = owner
        if len(self._unreleased) > MOST:
            del self._unreleased[next(iter(self._unreleased))]

    async def _release(self, run: str, key: str, wait: Millis) -> None:
        owner = self._unreleased.get((run, key))
        if owner is None:
            return
        now = self._clock.now()
        at = now + wait
        if key:
            await self._store.release_task(run, key, owner, at, now)
        else:
            await self._store.release(run, owner, at)
        if self._unreleased.get((run, key)) == owner:
            del self._unreleased[run, key]


class _Lease:
    __slots__ = ("overtaken", "owner", "renew", "since")

    def __init__(self, owner: str, since: Millis, renew: Renew, overtaken: Overtaken) -> None:
        self.owner = owner
        self.since = since
        self.renew = renew
        self.overtaken = overtaken


class Heart:
    """Renews the held leases, each third of a lease. `threaded=False` beats in the caller's loop.

    After a pause of the whole process (a laptop that slept, a clock that jumped, a lock on the
    store) its leases may be over although it lives. The sweeper asks `keeps` before it takes a
    holder for dead, so that this process renews its own claims and begins no work a second time.
    """

    def __init__(self, clock: Clock, lease: Millis, *, threaded: bool = True) -> None:
        self._clock = clock
        self._lease = lease
        self._interval = max(1, lease // 3)
        self._threaded = threaded
        self._held: dict[str, _Lease] = {}
        self._beaten: Millis = clock.now()
        self._home: asyncio.AbstractEventLoop | None = None
        self._away: asyncio.AbstractEventLoop | None = None
        self._beating: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None
        self._up = threading.Event()

    def open(self) -> None:
        """Begin to beat."""
        self._home = asyncio.get_running_loop()
        if self._threaded:
            self._thread = threading.Thread(target=self._run, name="rewake-heart", daemon=True)
            self._thread.start()
            self._up.wait()  # until `close` has a task to cancel
        else:
            self._beating = asyncio.ensure_future(self._beat())

    @contextmanager
    def holding(self, owner: str, renew: Renew, overtaken: Overtaken) -> Iterator[None]:
        """Renew the lease of a claim while the block runs.

        If another has the claim, `overtaken` is called in the event loop of `open`.
        """
        self._held[owner] = _Lease(owner, self._clock.now(), renew, overtaken)
        try:
            yield
        finally:
            self._held.pop(owner, None)

    async def makes_sure(self, until: Millis, renew: Renew) -> bool:
        """Renew a lease until then, until an answer leaves it time; False if another has it.

        Who took long to hear that a claim or a renewal was written may have lost it since.
        """
        while self._is_late(until):
            until = self._clock.now() + self._lease
            if not await renew():
                return False
        return True

    def _is_late(self, until: Millis) -> bool:
        """Whether a lease until then may be over before a beat renews it."""
        return until - self._clock.now() < self._lease * 2 // 3

    async def keeps(self, owner: str) -> bool:
        """Whether this process holds that claim; if so, this renews it."""
        lease = self._held.get(owner)
        if lease is None:
            return False
        await self._renew(lease)
        return owner in self._held

    async def beat_if_late(self) -> None:
        """Renew all leases now, if a beat is overdue or the clock was set back."""
        if abs(self._clock.now() - self._beaten) > 2 * self._interval:
            await self._renew_all(list(self._held.values()))

    async def close(self) -> None:
        """Stop beating. Leases that are still held run out."""
        if self._beating is not None:
            away = self._away
            if away is not None:
                away.call_soon_threadsafe(self._beating.cancel)
            else:
                self._beating.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        async def beat() -> None:
            self._away = asyncio.get_running_loop()
            self._beating = asyncio.ensure_future(self._beat())
            self._up.set()
            await asyncio.wait([self._beating])

        asyncio.run(beat())

    async def _beat(self) -> None:
        while True:
            await self._clock.sleep(self._interval)
            now = self._clock.now()
            old = now - self._interval
            # A lease from the future was renewed before the clock was set back.
            held = list(self._held.values())
            await self._renew_all([each for each in held if not old < each.since <= now])

    async def _renew_all(self, leases: Sequence[_Lease]) -> None:
        self._beaten = self._clock.now()
        # Together, for a store that joins writes to one commit; in parts, to bound them.
        for first in range(0, len(leases), AT_ONCE):
            part = leases[first : first + AT_ONCE]
            await asyncio.gather(*(self._renew(each) for each in part))

    async def _renew(self, lease: _Lease) -> None:
        lease.since = self._clock.now()
        try:
            kept = await lease.renew()
        except Exception:  # of any kind: the other leases must be renewed
            log.warning("a lease could not be renewed", exc_info=True)
            return
        if not kept and self._held.get(lease.owner) is lease:
            del self._held[lease.owner]
            assert self._home is not None
            if self._threaded:
                self._home.call_soon_threadsafe(lease.overtaken)
            else:
                lease.overtaken()

"""Leases: claims on runs and tasks, kept while something is done under them, then released.

Where a lease runs out, its process is taken for dead, and a run or a task whose processes keep
dying is given up. So two things must hold of a process that lives.

*It keeps what it works on.* `Heart` renews leases from a thread of its own, so that code that hogs
the event loop keeps them.

*It releases what it does not work on.* A process that could not reach its store must not look like
one that died. `Claims` remembers every claim under which nothing is done any more, and tries to
release it with each sweep until the store takes that. Until then it makes no new claim there, so
that one process never looks dead twice.

Safety never comes from here: a holder that was overtaken is fenced by the epoch. A heartbeat only
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
from rewake.stores.answers import Refused, RunClaim, Taken, TaskClaim
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")

PASSING = (StoreUnavailable, StoreFull)
"""Errors of a store that may take later what it refuses now. Others count as a death would."""
AT_ONCE = 500
"""How many leases are renewed together."""
MOST = 10_000
"""How many unreleased claims are remembered; older ones are left to run out."""

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

    async def run(self, run: str, claim: RunClaim) -> Header | None:
        """Claim a run; None if there is nothing to claim. Raises `StoreError`."""
        await self._release(run, "", 0)
        try:
            return await self._store.claim(run, claim)
        except PASSING:
            self._remember(run, "", claim.owner)  # it may be held for all that
            raise

    async def task(self, claim: TaskClaim) -> Taken | Refused:
        """Claim a task. Raises `StoreError`."""
        await self._release(claim.run, claim.key, 0)
        try:
            return await self._store.claim_task(claim)
        except PASSING:
            self._remember(claim.run, claim.key, claim.owner)
            raise

    async def release(self, run: str, key: str, owner: str, wait: Millis | None = None) -> None:
        """Nothing more is done as `owner`: others may go on in `wait` ms, or in a lease."""
        self._remember(run, key, owner)
        try:
            await self._release(run, key, self._settings.lease if wait is None else wait)
        except StoreError:
            log.warning("%s could not be released yet", key or f"run {run}", exc_info=True)

    async def sweep(self) -> None:
        """Try again to release what could not be. What fails goes to the end of the line."""
        while self._unreleased:
            (run, key), owner = next(iter(self._unreleased.items()))
            try:
                await self._release(run, key, self._settings.lease)
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
        at = self._clock.now() + wait
        if key:
            await self._store.release_task(run, key, owner, at)
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
    """Renews what is held, each third of a lease. `threaded=False` beats in the caller's loop.

    After a pause of the whole process (a laptop that slept, a clock that jumped, a lock on the
    store) the leases of what it holds may be over although it lives. The sweeper asks here before
    it takes anything for dead: what this process holds is renewed, and not begun a second time.
    """

    def __init__(self, clock: Clock, lease: Millis, *, threaded: bool = True) -> None:
        self._clock = clock
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
            self._up.wait()  # until there is something that `close` can cancel
        else:
            self._beating = asyncio.ensure_future(self._beat())

    @contextmanager
    def holding(self, owner: str, renew: Renew, overtaken: Overtaken) -> Iterator[None]:
        """Keep the lease of a claim while the block runs; if that fails, call `overtaken`.

        It is called in the event loop of `open`.
        """
        self._held[owner] = _Lease(owner, self._clock.now(), renew, overtaken)
        try:
            yield
        finally:
            self._held.pop(owner, None)

    async def keeps(self, owner: str) -> bool:
        """Whether this process holds that claim; it is renewed on this occasion."""
        lease = self._held.get(owner)
        if lease is None:
            return False
        await self._renew(lease)
        return owner in self._held

    async def beat_if_late(self) -> None:
        """Renew everything at once if the last beat is longer ago than it should be."""
        if abs(self._clock.now() - self._beaten) > 2 * self._interval:
            await self._renew_all(list(self._held.values()))

    async def close(self) -> None:
        """Stop. What is still held runs out by itself."""
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
            # A lease that seems to be of the future is from before the clock was set back.
            held = list(self._held.values())
            await self._renew_all([each for each in held if not old < each.since <= now])

    async def _renew_all(self, leases: Sequence[_Lease]) -> None:
        self._beaten = self._clock.now()
        # Together, so that a store that can makes few commits of them; in parts, to bound them.
        for first in range(0, len(leases), AT_ONCE):
            part = leases[first : first + AT_ONCE]
            await asyncio.gather(*(self._renew(each) for each in part))

    async def _renew(self, lease: _Lease) -> None:
        lease.since = self._clock.now()
        try:
            kept = await lease.renew()
        except Exception:  # whatever it is, the other leases must go on
            log.warning("a lease could not be renewed", exc_info=True)
            return
        if not kept and self._held.get(lease.owner) is lease:
            del self._held[lease.owner]
            assert self._home is not None
            if self._threaded:
                self._home.call_soon_threadsafe(lease.overtaken)
            else:
                lease.overtaken()

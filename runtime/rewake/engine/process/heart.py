"""The heart: it keeps the claims under which something is done, by one lease of the process.

`stores/processes.py` has the protocol. With each beat, a third of a lease apart, the process renews
its own lease if it has held anything for as long, and lets that hold what it has held until now by
leases of their own. All else it only looks at, for who holds a claim must hear that another has
taken it, or that nothing is wanted of it any more. Where an attempt has told something, that is
written instead (`engine/process/heartbeats.py`).

It beats in a thread of its own, so that code that hogs the event loop keeps its claims.

After a pause of the whole process (a laptop that slept, a clock that jumped, a lock on the store)
its lease may be over although it lives. The sweeper asks `keeps` before it takes a holder for
dead, so that this process renews its own claims and begins no work a second time. If it was marked
dead meanwhile, it goes on under another name with all that nobody has taken yet.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from rewake.clock import Clock
from rewake.engine.process.apart import Stay
from rewake.engine.process.tags import Tags
from rewake.engine.settings import Settings
from rewake.records import Millis
from rewake.stores.protocol import Store

log = logging.getLogger("rewake.engine")

AT_ONCE = 500
"""The most claims that are looked at, or given to the process, together."""
LOOKS = 2_000
"""The most claims that are looked at with one beat: those that were not for longest."""

Renew = Callable[[str], Awaitable[bool]]
"""Lets this process hold a claim by its lease; empty: by one of its own. False if it is lost."""
Look = Callable[["Hold"], Awaitable[bool]]
"""Whether the claim still holds. It may find another process to hold it by, or write what the
attempt has told; it gives nothing up."""
Overtaken = Callable[[], None]
"""Called in the engine's event loop when a claim is lost."""


@dataclass(slots=True, eq=False)
class Hold:
    """A claim under which something is done. `until`: its own lease, as its claim says."""

    owner: str
    until: Millis
    renew: Renew
    look: Look
    overtaken: Overtaken
    stay: Stay | None = None
    process: str = ""
    """The process whose lease it is held by, once it is."""
    given: bool = False
    """Whether a write that names the process was begun: it may be done after the hold."""
    since: Millis = 0
    looked: int = 0
    """The beat at which it was looked at."""


class Heart:
    """Keeps the held claims. `threaded=False` beats in the caller's loop.

    `unique` makes names that no other process has; `tags` says of which tags this one may hold
    tasks.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        unique: Callable[[], str],
        tags: Tags | None = None,
        *,
        threaded: bool = True,
    ) -> None:
        self._tags = tags
        self._store = store
        self._clock = clock
        self._settings = settings
        self._unique = unique
        self._lease = settings.lease
        self._interval = max(1, settings.lease // 3)
        self._threaded = threaded
        self._held: dict[str, Hold] = {}
        self._left: dict[str, Hold] = {}
        self._given_up = set[str]()
        self.name = unique()
        self._until: Millis = 0
        self._made = False
        self._asking = set[object]()
        self._lent: Millis = 0
        self._beats = 0
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

    @property
    def is_needed(self) -> bool:
        """Whether a beat has anything to do."""
        return bool(self._held or self._left or self._made)

    def holding(self, hold: Hold) -> Holding:
        """Keep a claim while the block runs.

        If another has it, `overtaken` is called in the event loop of `open`.
        """
        return Holding(self, hold)

    def begin(self, hold: Hold) -> None:
        """Keep a claim from now on, until `end`."""
        hold.since = self._clock.now()
        if hold.owner not in self._given_up:
            self._held[hold.owner] = hold

    def end(self, hold: Hold) -> None:
        """Keep a claim no more: it is done with."""
        self._given_up.discard(hold.owner)
        if self._held.pop(hold.owner, None) is not None:
            self._leave(hold)

    def _leave(self, hold: Hold) -> None:
        # What is not released now must not live for as long as this process.
        if hold.process or hold.given:
            hold.since = self._clock.now()
            self._left[hold.owner] = hold

    def lends(self) -> str:
        """This process's name, if its lease can hold what is begun now; else empty."""
        now = self._clock.now()
        if not self._made or self._is_short(self._until, self._lease // 3):
            return ""
        self._lent = now
        return self.name

    def give_up(self, owner: str) -> None:
        """Keep a claim no more, even if it is still being made. From any thread."""
        self._given_up.add(owner)
        hold = self._held.get(owner)
        if hold is not None:
            self._lost(hold)
            self._leave(hold)

    def is_sure(self, owner: str) -> bool:
        """Whether a claim is kept and leaves time: then there is nothing to make sure of."""
        hold = self._held.get(owner)
        return hold is not None and not self._is_late(hold)

    async def makes_sure(self, owner: str, *, whenever: bool = False) -> bool:
        """Keep a claim until an answer leaves it time; False if another has it.

        Who took long to hear that a claim or a renewal was written may have lost it since.
        `whenever`: ask, however lately a beat did.
        """
        hold = self._held.get(owner)
        if hold is not None and whenever and not await hold.look(hold):
            self._lost(hold)
        while (hold := self._held.get(owner)) is not None:
            if not self._is_late(hold):
                return True
            await self._renew(hold)
        return False

    def _is_late(self, hold: Hold) -> bool:
        """Whether the lease of a claim may be over before a beat renews it."""
        if hold.process:
            return hold.process != self.name or self._is_short(self._until, self._lease // 3)
        return self._is_short(hold.until, self._lease * 2 // 3)

    def _is_short(self, until: Millis, least: Millis) -> bool:
        # What is longer than a lease was written before the clock was set back.
        return not least <= until - self._clock.now() <= self._lease

    def holds(self, owner: str) -> bool:
        """Whether this process holds that claim, as far as it knows."""
        return owner in self._held

    async def keeps(self, owner: str) -> bool:
        """Whether this process holds that claim; if so, its lease is not over."""
        hold = self._held.get(owner)
        if hold is None:
            return False
        await self._keep(hold)
        return owner in self._held

    async def close(self, makes: Callable[[], bool]) -> None:
        """Stop beating. What is still held runs out. `makes`: see `rest`."""
        if self._beating is not None:
            away = self._away
            if away is not None:
                away.call_soon_threadsafe(self._beating.cancel)
            else:
                self._beating.cancel()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        await self.rest(makes)

    async def rest(self, makes: Callable[[], bool]) -> None:
        """Leave nothing that has this process's name, once nothing is held.

        `makes`: whether something may come to be held that has the name, by which it is looked for.
        """
        await self._all(list(self._left.values()), self._let_go)
        await self._rest(closing=not makes())

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
            try:
                await self._keep_all(self._old(self._held))
                await self._all(self._old(self._left)[:LOOKS], self._let_go)
                await self._rest()
            except Exception:  # of any kind: without beats, all that is held is lost
                log.warning("a beat failed; the next one tries again", exc_info=True)

    def _old(self, holds: dict[str, Hold]) -> list[Hold]:
        """Those since before the last beat."""
        now = self._clock.now()
        old = now - self._interval
        # What is held since the future was begun before the clock was set back.
        return [each for each in list(holds.values()) if not old < each.since <= now]

    async def _keep_all(self, held: list[Hold]) -> None:
        """Keep claims: the process's lease comes first, those that it does not hold yet next."""
        self._beats += 1
        # While there is other work, its item stays: what is held for long may come any moment.
        if not (held or self._made) or not await self._tried(self._renew_process()):
            return
        name = self.name
        new = [each for each in held if _is_to_write(each, name)]
        old = [each for each in held if not _is_to_write(each, name)]
        old.sort(key=lambda each: each.looked)
        await self._all(new, lambda hold: self._tried(self._renew(hold)))
        await self._all(old[:LOOKS], self._keep)

    async def _all(self, holds: list[Hold], act: Callable[[Hold], Awaitable[object]]) -> None:
        """Together, for a store that joins writes to one commit; in parts, to bound them."""
        for first in range(0, len(holds), AT_ONCE):
            if self._is_short(self._until, self._lease // 3):  # many take long
                await self._tried(self._renew_process())
            await asyncio.gather(*map(act, holds[first : first + AT_ONCE]))

    async def _keep(self, hold: Hold) -> None:
        """Keep one claim if its lease is short, else look at it."""
        if self._is_late(hold):
            await self._tried(self._renew(hold))
            return
        hold.looked = self._beats
        if await self._tried(hold.look(hold)) is False:
            self._lost(hold)

    async def _renew(self, hold: Hold) -> None:
        """Let this process hold the claim by its lease, for which it is renewed if it is short."""
        if self._is_short(self._until, self._lease // 3):
            await self._renew_process()
        name = self.name
        # A beat that was paused may come to what is held no more.
        if _is_to_write(hold, name) and self._held.get(hold.owner) is hold:
            hold.given = True
            if await hold.renew(name):
                hold.process = name
            else:
                self._lost(hold)

    def _lost(self, hold: Hold) -> None:
        if self._held.get(hold.owner) is hold:
            del self._held[hold.owner]
            assert self._home is not None
            if self._threaded:
                self._home.call_soon_threadsafe(hold.overtaken)
            else:
                hold.overtaken()

    async def _renew_process(self) -> bool:
        """Renew the lease of this process; under another name, if it was taken for dead."""
        while True:
            name, now = self.name, self._clock.now()
            asking, new = object(), not self._made
            self._asking.add(asking)
            try:
                where = self._settings.where
                held = self._tags.held if new and self._tags is not None else ()
                lives = await self._store.renew_process(
                    name, where, now, self._lease, new=new, tags=held
                )
            finally:
                self._asking.discard(asking)
            if lives:
                if self.name == name:
                    self._made, self._until = True, now + self._lease
                return True
            if self.name == name:
                log.warning("this process was taken for dead; it goes on with what it still has")
                self._forget()

    def _forget(self) -> None:
        self._until, self._made = 0, False
        self.name = self._unique()

    async def _let_go(self, hold: Hold) -> None:
        """Take what is done with, and was not released, from the process: it runs out."""
        held = await self._tried(hold.look(hold))
        if held and await self._tried(hold.renew("")) is None:
            return  # the next beat tries again
        if held is not None and self._left.get(hold.owner) is hold:
            del self._left[hold.owner]

    async def _rest(self, *, closing: bool = False) -> None:
        """Remove this process's item while it holds nothing."""
        lately = 0 <= self._clock.now() - self._lent <= self._lease
        if not self._made or self._held or self._left or (lately and not closing):
            return
        if self._asking:
            return  # a renewal that comes late must not make the item anew
        name = self.name
        self._forget()
        if not self._held:  # else it has the old name, perhaps, whose lease must run out
            await self._tried(self._store.end_process(name))

    async def _tried(self, work: Awaitable[bool | None]) -> bool | None:
        """The answer; None after any error, for all else must be kept."""
        try:
            return await work
        except Exception:
            log.warning("a lease could not be renewed", exc_info=True)
            return None


class Holding:
    """The block of `Heart.holding`. Not a generator: each attempt and each turn is held."""

    __slots__ = ("_heart", "_hold")

    def __init__(self, heart: Heart, hold: Hold) -> None:
        self._heart = heart
        self._hold = hold

    def __enter__(self) -> None:
        self._heart.begin(self._hold)

    def __exit__(self, *_: object) -> None:
        self._heart.end(self._hold)


def _is_to_write(hold: Hold, name: str) -> bool:
    return hold.process != name or (hold.stay is not None and hold.stay.is_ending())

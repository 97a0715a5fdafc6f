"""What this process serves, and whether somebody serves the tags that tasks wait for.

A task goes to a server of its tag in one of three ways. It is begun here; or a message goes to
where its route leads (`dispatchers/routes.py`); or else it is *offered*: its item is due in its
tag's part of the due index, which the servers of that tag look through
(`engine/sweeping/intake.py`), and nobody else. So who does not serve a tag cannot hold up its
tasks, nor be held up by them.

Servers of a tag say with each lease that they are there (`stores/known_tags.py`). Who finds that
something waits for a tag of which nobody says so warns of it, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable

from rewake.clock import Clock
from rewake.engine.settings import Settings
from rewake.ledger import KnownTag
from rewake.records import Header, Millis
from rewake.states import TERMINAL
from rewake.stores.protocol import Store
from rewake.tags import UNTAGGED

log = logging.getLogger("rewake.engine")

LEASES = 3
"""For so many leases a server's word that it serves a tag is good."""


class Tags:
    """The tags that concern this process; `routed` are those to which a route leads from here.

    `asked`: those of the tasks of its app. What it serves itself needs no route.
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        routed: Iterable[str],
        asked: Iterable[str],
    ) -> None:
        self._store, self._clock, self._lease = store, clock, settings.lease
        self._served = settings.served
        self._routed = frozenset(tag for tag in routed if tag not in self._served)
        self._noted = set[str]()
        self._known = {*self._served.tags, *self._routed, *asked}
        self._beat_at: Millis | None = None
        self._told = set[str]()
        self._astray = set[str]()
        self.missing: list[str] = []
        """The tags that nobody serves, and for which tasks wait, by the last look."""

    @property
    def held(self) -> list[str]:
        """The tags of what this process may hold; none: untagged work and nothing else."""
        if self._served.every:
            return [UNTAGGED, *sorted(self._known)]
        tagged = sorted(self._served.tags)
        return [UNTAGGED] * (self._served.untagged and bool(tagged)) + tagged

    def serves(self, tag: str) -> bool:
        """Whether this process serves tasks of this tag; of none: untagged work."""
        return tag in self._served

    def is_routed(self, tag: str) -> bool:
        """Whether tasks of this tag are sent by a route of their own."""
        return tag in self._routed

    def looks_after(self, tag: str) -> bool:
        """Whether this process looks at what is due of this tag."""
        return self.serves(tag) or self.is_routed(tag)

    @property
    def looked_after(self) -> list[str]:
        """The tags whose parts of the due index this process looks through, untagged work first."""
        return [tag for tag in self.known if self.looks_after(tag)]

    @property
    def known(self) -> list[str]:
        """The tags that this process has heard of, untagged work first."""
        return [UNTAGGED, *sorted(self._known)]

    async def note(self, tag: str) -> None:
        """Note that a task of this tag is about to be offered. Raises `StoreError`."""
        if tag not in self._noted:
            await self._store.known_tags.note(tag)
            self._noted.add(tag)
            self._known.add(tag)

    def went_astray(self, tag: str) -> None:
        """Warn, once, that a message came here for a tag that is not served: it comes for ever."""
        if tag not in self._astray:
            self._astray.add(tag)
            told = "a route for the tag %s leads here, which this server does not serve: --tags %s"
            log.warning(told, tag, tag)

    async def beat(self) -> None:
        """Say what is served here, and look what nobody serves, once a lease.

        Raises `StoreError`.
        """
        now = self._clock.now()
        if self._beat_at is not None and 0 <= now - self._beat_at < self._lease:
            return
        self._beat_at = now
        if self._known or self._served.every:
            until = now + LEASES * self._lease
            for tag in filter(None, self.looked_after):
                await self._store.known_tags.serve(tag, until, now, now + self._lease)
            await self.look()

    async def look(self) -> None:
        """Look which tags there are, and for which of them tasks wait in vain."""
        now, found = self._clock.now(), await self._store.known_tags.all()
        self._known |= {each.tag for each in found}
        missing = [each.tag for each in found if await self._is_missing(each, now)]
        for tag in missing:
            if tag not in self._told:
                told = "tasks wait for the tag %s, which no server serves: rewake serve --tags %s"
                log.warning(told, tag, tag)
        self._told, self.missing = set(missing), missing

    async def unserved(self, header: Header) -> list[str]:
        """The tags that nobody serves, and for which tasks of this run wait. Raises `StoreError`.

        It costs nothing as long as there are none.
        """
        if header.state in TERMINAL:
            return []
        now, run = self._clock.now(), header.run
        waits = [await self._store.due(now, limit=1, tag=tag, runs=[run]) for tag in self.missing]
        return [tag for tag, due in zip(self.missing, waits, strict=True) if due]

    async def _is_missing(self, found: KnownTag, now: Millis) -> bool:
        # Said later than now, it was said before the clock was set back. How long it is good for
        # follows from the lease of who says it, which may be another one.
        if self.looks_after(found.tag) or found.said - self._lease <= now <= found.until:
            return False
        return bool(await self._store.due(now - self._lease, limit=1, tag=found.tag))

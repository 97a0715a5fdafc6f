"""What this process serves, and whether somebody serves the tags that tasks wait for.

A task goes to a server of its tag in one of three ways. It is begun here; or a message goes to
where its route leads (`dispatchers/routes.py`); or else it is *offered*: its item is due in its
tag's part of the due index, which the servers of that tag look through
(`engine/sweeping/intake.py`), and nobody else. So who does not serve a tag cannot hold up its
tasks, nor be held up by them.

Servers of a tag say with each lease that they are there (`stores/known_tags.py`); where processes
stand still, with what comes to them. Who finds that something waits for a tag of which nobody says
so warns of it, once. What is offered waits in the due index. What was sent waits in a queue, and
each look at its run postpones the next: so whoever looks keeps one of each way in mind
(`saw_untaken`), and tells after `LATE`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from contextlib import suppress
from typing import Final, NamedTuple

from rewake.clock import Clock
from rewake.engine.settings import Settings
from rewake.errors import StuckError
from rewake.ledger import KnownTag
from rewake.records import Header, Millis
from rewake.states import TERMINAL
from rewake.stores.protocol import Store
from rewake.tags import UNTAGGED

log = logging.getLogger("rewake.engine")

LATE: Final[Millis] = 300_000
"""For so long something waits before that is told, in milliseconds."""
LEASES = 3
"""For so many leases a server's word that it serves a tag is good."""


class _Untaken(NamedTuple):
    """Something that was sent, and was not taken from the first look at it to the last."""

    run: str
    key: str
    first: Millis
    last: Millis


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
        self._untaken = dict[str, _Untaken]()
        self.missing: list[str] = []
        """The tags that nobody serves, and for which tasks wait, by the last look."""
        self.waiting: list[KnownTag] = []
        """The ways on which what was sent is not taken for long, by the last look."""

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

    def saw_untaken(self, tag: str, run: str, key: str) -> None:
        """Note that a look finds something that was sent, and that nobody has taken."""
        now, kept = self._clock.now(), self._untaken.get(tag)
        if kept is None or not 0 <= now - kept.last <= LATE:
            kept = _Untaken(run, key, now, now)
        if (kept.run, kept.key) == (run, key):
            self._untaken[tag] = kept._replace(last=now)

    async def beat(self) -> None:
        """Say what is served here and what nobody takes, and look what nobody serves, once a lease.

        Raises `StoreError`.
        """
        now = self._clock.now()
        if self._has_just_said(now):
            return
        await self._say(now)
        late = [t for t, e in self._untaken.items() if now - e.first >= LATE >= now - e.last]
        for tag in late:
            await self._store.known_tags.wait(tag, *self._untaken[tag])
        if self._known or late or self._served.every:
            await self.look()

    async def came(self) -> None:
        """Say what is served here, once a lease, as something of it has come: no sweep may do so.

        Raises `StoreError`.
        """
        now = self._clock.now()
        if not self._has_just_said(now):
            await self._say(now)

    def _has_just_said(self, now: Millis) -> bool:
        return self._beat_at is not None and 0 <= now - self._beat_at < self._lease

    async def _say(self, now: Millis) -> None:
        self._beat_at = now
        until = now + LEASES * self._lease
        for tag in filter(self.serves, sorted(self._known)):
            await self._store.known_tags.serve(tag, until, now, now + self._lease)

    async def look(self) -> None:
        """Look which tags there are, and for which of them tasks wait in vain."""
        now, found = self._clock.now(), await self._store.known_tags.all()
        self._known |= {each.tag for each in found if each.tag}
        self.waiting = [each for each in found if 0 <= now - each.seen <= LATE]
        missing = [each.tag for each in found if each.tag and await self._is_missing(each, now)]
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
        sent = await self._sent(header)
        return [tag for tag, due in zip(self.missing, waits, strict=True) if due or tag in sent]

    async def _sent(self, header: Header) -> set[str]:
        """The tags that nobody serves, and to which tasks of this run were sent."""
        if not {each.tag for each in self.waiting}.intersection(self.missing):
            return set()
        with suppress(StuckError):  # it cannot be read here
            history = await self._store.outline(header)
            asked = {entry.tag for entry in history.awaited() if history.item(entry) is None}
            return asked.intersection(each.tag for each in self.waiting)
        return set()

    async def _is_missing(self, found: KnownTag, now: Millis) -> bool:
        # Said later than now, it was said before the clock was set back. How long it is good for
        # follows from the lease of who says it, which may be another one.
        if self.serves(found.tag) or found.said - self._lease <= now <= found.until:
            return False
        if found in self.waiting:
            return found.seen > found.said  # else it may have been taken since
        offered = not self.is_routed(found.tag)
        return offered and bool(await self._store.due(now - self._lease, limit=1, tag=found.tag))

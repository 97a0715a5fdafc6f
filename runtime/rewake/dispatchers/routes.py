"""Routes: messages for tasks of a tag go where its route leads, all others where they always went.

A route is a dispatcher of its own: another base URL, another queue, a function with more memory.
Who takes its messages has the same store and secret, and serves the tag; what is stored still
decides whether there is anything to do. `rewake.hosts.building` makes routes of addresses.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from rewake.dispatchers.dispatcher import DeadLetters, Dispatcher, Handler, Parked
from rewake.records import Invocation, Millis


class DeadLettersOfAll:
    """The messages that were parked on several ways."""

    def __init__(self, every: Sequence[DeadLetters]) -> None:
        self._every = every

    async def page(self, most: int) -> tuple[Sequence[Parked], bool]:
        """See `DeadLetters`."""
        found: list[Parked] = []
        for each in self._every:
            if len(found) >= most:
                return found, True
            some, more = await each.page(most - len(found))
            found += some
            if more:
                return found, True
        return found, False

    async def find(self, id: str) -> Parked | None:
        """See `DeadLetters`."""
        for each in self._every:
            if (found := await each.find(id)) is not None:
                return found
        return None

    async def redrive(self, id: str | None) -> int:
        """See `DeadLetters`."""
        sent = 0
        for each in self._every:
            sent += await each.redrive(id)
            if id is not None and sent:
                break
        return sent


class Router:
    """Hands messages with one of these tags to its dispatcher in `routes`, and others to `main`."""

    def __init__(self, main: Dispatcher, routes: Mapping[str, Dispatcher]) -> None:
        self._main = main
        self._routes = dict(routes)

    @property
    def local(self) -> bool:
        """Whether this process handles what is of no route."""
        return self._main.local

    @property
    def tags(self) -> frozenset[str]:
        """The tags that have a route."""
        return frozenset(self._routes)

    @property
    def reach(self) -> Millis:
        """How far ahead messages are kept that are of no route."""
        return self._main.reach

    @property
    def every_dead_letters(self) -> tuple[DeadLetters, ...]:
        """Those of each way, once; of messages that are of no route, first."""
        found = (each.dead_letters for each in self._all())
        return tuple(each for each in found if each is not None)

    @property
    def dead_letters(self) -> DeadLetters | None:
        """Those of all ways together."""
        every = self.every_dead_letters
        return DeadLettersOfAll(every) if len(every) > 1 else next(iter(every), None)

    @property
    def queues(self) -> tuple[Any, ...]:
        """The queues that must be there."""
        return tuple(queue for each in self._all() for queue in getattr(each, "queues", ()))

    def open(self, handler: Handler) -> None:
        for each in self._all():
            each.open(handler)

    async def dispatch(self, invocations: Sequence[Invocation]) -> None:
        ways: defaultdict[str, list[Invocation]] = defaultdict(list)
        for invocation in invocations:
            ways[invocation.tag].append(invocation)
        for tag, some in ways.items():
            await self.way(tag).dispatch(some)

    async def flush(self) -> None:
        await asyncio.gather(*(each.flush() for each in self._all()))

    async def is_behind(self) -> bool:
        return await self._main.is_behind()

    def way(self, tag: str) -> Dispatcher:
        """The dispatcher for messages of this tag, or of none."""
        return self._routes.get(tag, self._main)

    async def close(self) -> None:
        await asyncio.gather(*(each.close() for each in self._all()))

    def _all(self) -> list[Dispatcher]:
        return [self._main, *dict.fromkeys(self._routes.values())]


def routed_tags(dispatcher: Dispatcher) -> frozenset[str]:
    """The tags to which a route leads from here."""
    return dispatcher.tags if isinstance(dispatcher, Router) else frozenset()


def way_of(dispatcher: Dispatcher, tag: str) -> Dispatcher:
    """The dispatcher to which messages of this tag go from here, or those of none."""
    return dispatcher.way(tag) if isinstance(dispatcher, Router) else dispatcher


def every_dead_letters(dispatcher: Dispatcher) -> tuple[DeadLetters, ...]:
    """Those of each queue to which messages go from here; of messages of no route, first."""
    if isinstance(dispatcher, Router):
        return dispatcher.every_dead_letters
    return () if dispatcher.dead_letters is None else (dispatcher.dead_letters,)

"""Mutants of events: one is lost between a publisher and who waits, or heard twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

from rewake.authoring import events as authoring
from rewake.engine.outside.events import Events, with_all
from rewake.engine.turns.subscriptions import Subscriptions
from rewake.published import Mention, Published
from rewake.stores.events import Events as Stored
from rewake.values.matching import ref_of
from tests.simulation.mutants import Mutant


@contextmanager
def a_wait_does_not_look_back() -> Iterator[None]:
    """It is subscribed, and what was published before that is not looked for."""
    subscribe, look = Events.subscribe, Events._look

    async def deaf(self: Events, run: str, op: Any, asked: Any) -> None:
        async def nothing(*_: Any) -> None: ...

        self._look = nothing  # type: ignore[method-assign, assignment]
        try:
            await subscribe(self, run, op, asked)
        finally:
            self._look = look.__get__(self)  # type: ignore[method-assign]

    with patch.object(Events, "subscribe", deaf):
        yield


@contextmanager
def an_event_is_not_mentioned() -> Iterator[None]:
    """Only who waits as it is published could find it."""

    async def nothing(*_: Any) -> None: ...

    with patch.object(Stored, "mention", nothing):
        yield


@contextmanager
def a_wait_is_made_known_once() -> Iterator[None]:
    """A turn that takes a run over believes that its waits are known."""
    begin = Subscriptions.begin

    def trusting(self: Subscriptions, execution: Any, *, anew: bool) -> None:
        self.owed = False
        begin(self, execution, anew=False)

    with patch.object(Subscriptions, "begin", trusting):
        yield


@contextmanager
def a_run_forgets_what_it_heard() -> Iterator[None]:
    """The next wait may have the same event again."""

    def forgetful(self: Any, _mark: str, place: int, asked_at: int) -> None:
        self.since = max(self.since, min(asked_at, place) - authoring.SLACK)

    with patch.object(authoring._Heard, "hear", forgetful):
        yield


@contextmanager
def an_event_has_no_custody() -> Iterator[None]:
    """It is written down, and nobody goes on with it if its publisher dies."""
    publish = Stored.publish

    async def unguarded(self: Stored, event: Published) -> Published:
        event.due = None
        return await publish(self, event)

    with patch.object(Stored, "publish", unguarded):
        yield


@contextmanager
def a_mention_is_taken_back_at_once() -> Iterator[None]:
    """Although who found it there may be about to settle that place."""
    put = Events._put

    async def hasty(self: Events, event: Published, data: Any, place: int) -> Any:
        found = await put(self, event, data, place)
        if event.place != place:
            indexes = self._indexes(event.name, data, await self._store.shapes(event.name))
            mention = Mention(ref_of(event.name, event.id), place)
            await self._store.forget(with_all(event.name, indexes), mention)
        return found

    with patch.object(Events, "_put", hasty):
        yield


HEARING: Sequence[Mutant] = (
    a_wait_does_not_look_back,
    an_event_is_not_mentioned,
    a_wait_is_made_known_once,
    a_run_forgets_what_it_heard,
    an_event_has_no_custody,
    a_mention_is_taken_back_at_once,
)

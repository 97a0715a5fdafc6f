"""Which events cancel runs (`cancel_on`), and how it is made known, and no more.

A *watch* is a subscription without a wait, in the index of the events that cancel its run. It is
written before that run is there, or goes on after it had ended, or has other arguments: so no event
of a run that goes on is missed, and what a death leaves too many is taken away by the event that
finds it. In its later laps a run has other arguments than it began with, and so has one that has
gathered other starts: what an event finds there is compared with those that it has now.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from rewake.authoring.events import asked_of
from rewake.authoring.triggers import EventTrigger
from rewake.authoring.workflow import Workflow
from rewake.engine.runs.runs import Runs
from rewake.errors import CheckpointUnreadable, InvalidInput, RunConflict, RunNotFound, StoreError
from rewake.kinds import Purpose
from rewake.laps import FIRST
from rewake.published import Published, Subscription
from rewake.records import Header, Millis, Started, Value
from rewake.states import TERMINAL
from rewake.stores.events import Index
from rewake.stores.history import History
from rewake.values.matching import index_of, indexes_of, texts_at
from rewake.values.run_codec import RunCodec

log = logging.getLogger("rewake.engine")
Noted = Callable[[str, Sequence[str]], Awaitable[Millis]]
"""Notes by which fields events of a name are looked for."""
_Texts = dict[int, tuple[EventTrigger, dict[str, str]]]


class Watches:
    """The watches of all runs."""

    def __init__(self, engine: Runs, noted: Noted) -> None:
        self._engine = engine
        self._services = engine.services
        self._store = engine.services.store
        self._noted = noted

    async def make(
        self,
        run: str,
        workflow: Workflow[Any, Any],
        given: Mapping[str, Any],
        before: Mapping[str, Any] | None = None,
    ) -> None:
        """Let events cancel a run with these arguments, from now on. Raises `InvalidInput`.

        `before`: those that it has, by which it is watched already.
        """
        if not workflow.cancel_on:
            return
        known = {} if before is None else _texts(workflow, before)
        wanted = [each for at, each in _texts(workflow, given).items() if known.get(at) != each]
        for trigger, texts in wanted:
            await self._noted(trigger.name, list(texts))
            index = Index(trigger.name, index_of(self._services.secret, trigger.name, texts))
            await self._store.events.subscribe(index, _watch(run, self._services.clock.now()))

    async def again(self, header: Header, started: Started) -> None:
        """Let events cancel a run that had ended, and goes on."""
        workflow = self._watched(header)
        if workflow is not None:
            try:
                await self.make(header.run, workflow, await self._given(header, started.args))
            except InvalidInput as error:  # it began with another version of the code
                log.warning("events will not cancel run %s: %s", header.run, error)

    async def follow(self, header: Header, started: Started, args: Value) -> None:
        """Let events cancel a run also with the arguments of the lap that is about to begin."""
        workflow = self._watched(header)
        if workflow is not None:
            before = await self._given(header, started.args)
            await self.make(header.run, workflow, await self._given(header, args), before)

    async def take_back(self, header: Header, started: Started, after: Value | None = None) -> None:
        """Let events cancel a run with these arguments no more. What fails is left to an event.

        `after`: those that it has now, if it has not ended.
        """
        workflow = self._watched(header)
        if workflow is None:
            return
        try:
            given = _texts(workflow, await self._given(header, started.args))
            left = {} if after is None else _texts(workflow, await self._given(header, after))
            for trigger, texts in [each for at, each in given.items() if left.get(at) != each]:
                digests = indexes_of(self._services.secret, trigger.name, texts)
                indexes = [Index(trigger.name, each) for each in digests]
                await self._store.events.unsubscribe(indexes, [_watch(header.run, 0)])
        except (StoreError, InvalidInput, CheckpointUnreadable) as error:
            log.warning("events may still look for run %s: %s", header.run, error)

    async def forget(self, header: Header, history: History | None) -> None:
        """Let events find nothing of a run any more that has ended, and has told nobody.

        What fails is left to the next event.
        """
        if history is None or not history.entries:
            return
        first = history.entries[0]
        if isinstance(first, Started):
            await self.take_back(header, first)
        codec = RunCodec(self._services.secret, header.run)
        try:
            for entry in history.awaited():
                if entry.kind.traits.subscribes:
                    whole = await self._store.whole(header.run, entry)
                    if whole.args is not None:
                        asked = asked_of(codec, entry.key, whole.args)
                        waiting = Subscription(header.run, entry.key, entry.round)
                        await self._services.events.unsubscribe(entry.name, asked, waiting)
        except (StoreError, CheckpointUnreadable) as error:
            log.warning("waits of run %s are still subscribed: %s", header.run, error)

    async def call_off(
        self, event: Published, data: Any, index: Index, watch: Subscription
    ) -> None:
        """Cancel the run of a watch that an event has found, once. A stuck one as it goes on."""
        reason = f"by the event {event.name} {event.id}"
        try:
            header = await self._engine.get(watch.run)
            is_live = header.state not in TERMINAL and not header.cancels
            if is_live and await self._is_about(header, event.name, data):
                await self._engine.cancel(watch.run, reason, once_resumed=True, once=True)
        except RunConflict as refused:
            log.warning("the event %s %s cancels no run: %s", event.name, event.id, refused)
        except RunNotFound:
            # It may be about to be started; later than that, it is a run that is gone.
            if watch.since > self._services.clock.now() - self._services.settings.later:
                return
        await self._store.events.unsubscribe([index], [watch])

    async def _is_about(self, header: Header, name: str, data: Any) -> bool:
        """Whether an event is about a run with the arguments that it has now."""
        workflow = self._watched(header)
        if workflow is None or (header.lap.number == FIRST and not _gathers(workflow)):
            return True
        first = (await self._store.entries(header)).entries[0]
        if not isinstance(first, Started):
            return True
        known = _texts(workflow, await self._given(header, first.args)).values()
        return any(
            trigger.name == name and texts_at(data, list(texts)) == texts
            for trigger, texts in known
        )

    def _watched(self, header: Header) -> Workflow[Any, Any] | None:
        """The workflow of a run, if events cancel its runs and this process has its code."""
        found = self._services.app.workflows.get(header.workflow)
        return found if found is not None and found.cancel_on else None

    async def _given(self, header: Header, args: Value) -> Mapping[str, Any]:
        args = await self._store.resolve(header.run, args)
        codec = RunCodec(self._services.secret, header.run)
        given: Mapping[str, Any] = codec.decode(args, key="", purpose=Purpose.INPUT)
        return given


def _gathers(workflow: Workflow[Any, Any]) -> bool:
    """Whether what a run begins with may change before it begins."""
    return workflow.rules is not None and workflow.rules.gathering is not None


def _texts(workflow: Workflow[Any, Any], given: Mapping[str, Any]) -> _Texts:
    """By its place, what fields of the events of each trigger must be. Raises `InvalidInput`."""
    triggers = enumerate(workflow.cancel_on)
    return {at: (each, each.texts_of(workflow.function, given)) for at, each in triggers}


def _watch(run: str, now: Millis) -> Subscription:
    return Subscription(run, since=now, cancels=True)

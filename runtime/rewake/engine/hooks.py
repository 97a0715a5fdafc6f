"""Telling of what goes wrong: the runs that call the tasks of hooks (`authoring/alerting.py`).

That a run has ended so, or is stuck, stands in its header with `tells`, and a due time, until the
runs that tell of it are started. So a death between is made good by the next sweep, which starts
them again, under the same ids. A schedule's alert is started before what it tells of is written
down. Who has not the code leaves it due, for who has.

Of a run that waits too long there is nothing to write: the check of a parked run is early enough
to find that (`Hooks.late_at`), one that is running is looked at now and then, and the id of what
tells of it is one for the run.

What is left out of a flood is counted in an item for each hook. A death may count one twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rewake.app import App
from rewake.authoring.alerting import Alert, AlertKind, Hook
from rewake.authoring.workflow import Workflow
from rewake.engine.limits import LAST
from rewake.engine.runs import Runs
from rewake.errors import RunConflict
from rewake.ledger import Schedule
from rewake.records import Header, Millis
from rewake.signing.redacting import without_links
from rewake.states import RunState
from rewake.values.sealing import for_people

MOST_TOLD = 100_000
"""Of so many runs it is kept in memory that somebody was told of their lateness."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THEN = {AlertKind.FAILED: "rewake runs retry {}", AlertKind.STUCK: "rewake runs show {}"}
_KINDS = {RunState.FAILED: AlertKind.FAILED, RunState.STUCK: AlertKind.STUCK}


class Hooks:
    """Whom this app tells of what."""

    def __init__(self, app: App, runs: Runs) -> None:
        self._app = app
        self._runs = runs
        self._clock = runs.services.clock
        store = runs.services.store
        self._floods = store.floods
        store.tells_stuck = any(AlertKind.STUCK in hook.kinds for hook in app.hooks)
        self._waiting = min((h.waiting for h in app.hooks if h.waiting is not None), default=None)
        self._told: set[str] = set()

    def tells(self, header: Header, state: RunState) -> bool:
        """Whether somebody is to be told if a run gets into this state."""
        kind = _KINDS.get(state)
        return kind is not None and next(self._hooks(header.workflow, kind), None) is not None

    async def tell(self, header: Header) -> bool:
        """Tell that a run has failed or is stuck, if that is still to be done.

        False: it is not known here whom to tell.
        """
        if not header.tells:
            return True
        if header.workflow not in self._app.workflows:
            return False
        kind = _KINDS.get(header.state)
        if kind is not None:
            when = max(header.clock, header.changed, header.created)
            await self._tell_of(header, kind, f"{header.epoch}.{header.round}", when)
        return True

    # --- runs that wait ------------------------------------------------------------------------

    def late_at(self, header: Header) -> Millis | None:
        """When somebody is to be told that a run has not ended, if nobody was yet."""
        if self._waiting is None or next(self._late(header), None) is None:
            return None
        return None if header.run in self._told else header.created + self._waiting

    def looks_at(self, header: Header) -> list[Millis]:
        """When a parked run is looked at, whatever its operations need."""
        late = self.late_at(header)
        line = None if header.admission is None else header.admission.line
        last = [] if line is None else [self._clock.now() + LAST]
        return last if late is None else [late, *last]

    async def tell_late(self, header: Header) -> None:
        """Tell that a run has not ended, if it is late."""
        at = self.late_at(header)
        if at is not None and at <= self._clock.now():
            await self._tell_of(header, AlertKind.WAITING, "", at)
            if len(self._told) >= MOST_TOLD:
                self._told.clear()  # each costs a look more
            self._told.add(header.run)

    def _late(self, header: Header) -> Iterator[tuple[Hook, Workflow[Any, Any]]]:
        return self._hooks(header.workflow, AlertKind.WAITING)

    # --- schedules -----------------------------------------------------------------------------

    async def tell_skipped(self, schedule: Schedule, at: Millis, why: str) -> None:
        """Tell that a schedule starts no run for this nominal time."""
        for hook, teller in self._hooks(schedule.workflow, AlertKind.SKIPPED):
            alert = Alert(
                id=_id(teller, AlertKind.SKIPPED, schedule.name, str(at)),
                kind=AlertKind.SKIPPED,
                at=_moment(at),
                workflow=schedule.workflow,
                schedule=schedule.name,
                error=why,
                then=f"rewake schedules show {schedule.name}",
            )
            await self._start(hook, teller, alert)

    # --- telling -------------------------------------------------------------------------------

    def _hooks(self, name: str, kind: AlertKind) -> Iterator[tuple[Hook, Workflow[Any, Any]]]:
        """Who is told of a workflow, each with the workflow that tells; of a teller, nobody."""
        found = self._app.workflows.get(name)
        if found is None or found in self._app.tellers.values():
            return
        own = () if found.on_failure is None else (found.on_failure,)
        for hook in (*own, *self._app.hooks):
            if kind in hook.kinds:
                for task in hook.tasks:
                    yield hook, self._app.tellers[task.name]

    async def _tell_of(self, header: Header, kind: AlertKind, which: str, at: Millis) -> None:
        for hook, teller in self._hooks(header.workflow, kind):
            then = _THEN.get(kind, "rewake runs show {}").format(header.run)
            error = header.error if kind is not AlertKind.WAITING else ""
            alert = Alert(
                id=_id(teller, kind, header.run, which),
                kind=kind,
                at=_moment(at),
                workflow=header.workflow,
                run=header.run,
                error=without_links(for_people(error)),
                then=then,
            )
            await self._start(hook, teller, alert)

    async def _start(self, hook: Hook, teller: Workflow[Any, Any], alert: Alert) -> None:
        if hook.most:
            now = self._clock.now()
            if await self._runs.services.store.find(alert.id) is not None:
                return
            flood = await self._floods.count(_name(hook), now // hook.per, hook.most)
            if flood.told > hook.most:
                return
            last = flood.told == hook.most
            alert = msgspec.structs.replace(alert, left_out=flood.left, last=last)
        given = {"alert": msgspec.to_builtins(alert)}
        with suppress(RunConflict):  # it was told, so long ago that nothing of that is left
            await self._runs.start(teller.name, given, run=alert.id, compare=False)


def _moment(at: Millis) -> str:
    return (_EPOCH + timedelta(milliseconds=at)).isoformat(timespec="milliseconds")


def _name(hook: Hook) -> str:
    return "+".join(sorted(task.name for task in hook.tasks))


def _id(teller: Workflow[Any, Any], kind: AlertKind, *what: str) -> str:
    """The id of the run that tells this: one, whoever begins it."""
    text = "\0".join((teller.name, kind, *what))
    return f"tell-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

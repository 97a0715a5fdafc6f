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
import logging
from collections.abc import Coroutine, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from rewake.app import App
from rewake.authoring.alerting import Alert, AlertKind, Hook
from rewake.authoring.workflow import Workflow
from rewake.dispatchers.dispatcher import Parked
from rewake.engine.alerts.overdue import Late, overdue
from rewake.engine.limits.limits import LAST
from rewake.engine.runs.runs import Runs
from rewake.errors import RewakeError, RunConflict
from rewake.ledger import Schedule
from rewake.records import Header, Millis
from rewake.signing.redacting import without_links
from rewake.states import RunState
from rewake.values.sealing import for_people

log = logging.getLogger("rewake.engine")

MOST_TOLD = 100_000
"""Of so many runs it is kept in memory that somebody was told of their lateness."""
MOST_LATE = 200
"""Of so many late runs, and of so many messages, one look tells."""
EVERY: Millis = 60_000
LEADS: Millis = 150_000
"""For so long after its last look the others leave looking to a process."""
DAY: Millis = 86_400_000
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
        looked_for = (AlertKind.OVERDUE, AlertKind.DEAD_LETTER)
        self._looks = {kind for hook in app.hooks for kind in hook.kinds if kind in looked_for}
        self._looked: Millis = 0
        self._what = _looked_for(app, self._looks)
        self._me = runs.services.unique()
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

    # --- what is found by looking --------------------------------------------------------------

    async def look(self) -> None:
        """Tell of runs that are late, and of messages that were parked, once a minute.

        One process of those that have this app does, and goes on with that while it lives. A sweep
        never fails for it.
        """
        now = self._clock.now()
        if not self._looks or 0 <= now - self._looked < EVERY:
            return
        self._looked = now
        try:
            if not await self._floods.is_looker(self._what, self._me, now, LEADS):
                return
            if AlertKind.OVERDUE in self._looks:
                for late in (await overdue(self._runs.services, MOST_LATE))[0]:
                    # Each of its tasks may be the one that waits for longest, for a while.
                    told = f"{late.header.run} {late.reason.code} {late.since // DAY}"
                    await self._once(told, self._tell_overdue(late))
            if AlertKind.DEAD_LETTER in self._looks:
                await self._tell_parked()
        except RewakeError as error:
            log.warning("what is to be told of could not be looked for: %s", error)

    async def _once(self, what: str, telling: Coroutine[Any, Any, None]) -> None:
        """Do it unless this process has, as far as it remembers."""
        if what in self._told:
            telling.close()
            return
        await telling
        if len(self._told) >= MOST_TOLD:
            self._told.clear()  # each costs a look more
        self._told.add(what)

    async def _tell_overdue(self, late: Late) -> None:
        run, reason = late.header.run, late.reason
        for hook, teller in self._hooks(late.header.workflow, AlertKind.OVERDUE):
            alert = Alert(
                id=_id(teller, AlertKind.OVERDUE, run, reason.code, str(late.since // DAY)),
                kind=AlertKind.OVERDUE,
                at=_moment(late.since),
                workflow=late.header.workflow,
                run=run,
                error=f"{reason.code}: {reason.fix}",
                then=reason.command,
            )
            await self._start(hook, teller, alert)

    async def _tell_parked(self) -> None:
        letters = self._runs.services.dispatcher.dead_letters
        if letters is None:
            return
        for each in (await letters.page(MOST_LATE))[0]:
            await self._once(f"letter {each.id}", self._tell_of_letter(each))

    async def _tell_of_letter(self, parked: Parked) -> None:
        found = await self._runs.services.store.find(parked.run) if parked.run else None
        if found is not None and self._is_teller(found.workflow):
            return  # what tells of it would be parked as well, and told of, for ever
        for hook in self._app.hooks:
            for task in hook.tasks if AlertKind.DEAD_LETTER in hook.kinds else ():
                teller = self._app.tellers[task.name]
                alert = Alert(
                    id=_id(teller, AlertKind.DEAD_LETTER, parked.id),
                    kind=AlertKind.DEAD_LETTER,
                    at=_moment(parked.at),
                    workflow="",
                    message=parked.id,
                    error=without_links(parked.reason),
                    then=f"rewake deadletters show {parked.id}",
                )
                await self._start(hook, teller, alert)

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
        if found is None or self._is_teller(name):
            return
        own = () if found.on_failure is None else (found.on_failure,)
        for hook in (*own, *self._app.hooks):
            if kind in hook.kinds:
                for task in hook.tasks:
                    yield hook, self._app.tellers[task.name]

    def _is_teller(self, name: str) -> bool:
        return self._app.workflows.get(name) in self._app.tellers.values()

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


def _looked_for(app: App, kinds: Iterable[AlertKind]) -> str:
    """The same in all processes that tell the same of the same workflows."""
    text = "\0".join((*sorted(app.workflows), "", *sorted(kinds)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _id(teller: Workflow[Any, Any], kind: AlertKind, *what: str) -> str:
    """The id of the run that tells this: one, whoever begins it."""
    text = "\0".join((teller.name, kind, *what))
    return f"tell-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"

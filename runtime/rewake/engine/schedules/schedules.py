"""What people and code say of schedules: make one, change it, pause it, start runs of it.

What the code says of a schedule stands from the first start of a process that has it. A request may
override it until the code says something else than it said: then the code wins, and the schedule
tells what was replaced (of two codes the newer one wins, `rewake.engine.schedules.agreeing`). That
it is paused is nothing that code says; a deploy does not resume it.

A schedule that the code has no more is left as it is, shown, and starts nothing: in a deploy, older
processes have it still, or newer ones already.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from rewake.access import check_tenant
from rewake.authoring.workflow import Workflow
from rewake.engine.runs.runs import Runs
from rewake.engine.schedules import agreeing
from rewake.engine.schedules.scheduler import KEPT, Scheduler, is_served, next_due, said_by
from rewake.engine.services import Services
from rewake.errors import InvalidInput, ScheduleConflict, ScheduleNotFound
from rewake.ledger import Backfill, Became, Schedule
from rewake.records import Header, Millis
from rewake.schedules.definition import (
    Definition,
    check_name,
    definition_of,
    run_of_moment,
    times_of,
)
from rewake.schedules.times import many
from rewake.stores.schedules import SchedulePage
from rewake.stores.table import Due

log = logging.getLogger("rewake.schedules")

MOST_FILLED = 1_000
"""The most nominal times of one backfill."""
MOST_BACKFILLS = 10
"""The most backfills that a schedule may have before it."""
MOST_SHOWN = 1_000
"""The most nominal times that are told ahead."""
LONGEST_NOTE = 200
PAUSED = "it was due before the schedule was resumed from a pause"
"""Why a nominal time has no run that was due in a pause, or waited for something as that began."""
_TRIES = 8


class Schedules:
    """The schedules of one store, as one process sees them and acts on them."""

    def __init__(self, services: Services, runs: Runs) -> None:
        self._services = services
        self._store = services.store.schedules
        self._runs = runs
        self._next: Millis | None = 0
        self._asked: dict[str, Millis] = {}
        self.look = Scheduler(services, runs).look

    async def begin(self) -> None:
        """Once: let the stored schedules be what the code says; again while newer code is asked."""
        if self._next is not None and self._next <= self._now:
            self._next = await self.take_over()

    # --- looking -----------------------------------------------------------------------------

    async def get(self, name: str) -> Schedule:
        """The schedule of this name. Raises `ScheduleNotFound`."""
        found = await self._store.find(name)
        if found is None:
            raise ScheduleNotFound(f"there is no schedule {name!r}")
        return found

    async def page(self, *, limit: int, cursor: str | None) -> SchedulePage:
        """A page of the schedules, by name."""
        return await self._store.page(limit=limit, cursor=cursor)

    def is_served(self, schedule: Schedule) -> bool:
        """Whether this process may start its runs."""
        return is_served(self._services.app, schedule)

    def coming(self, schedule: Schedule, after: Millis | None, count: int) -> list[Millis]:
        """Its next nominal times, later than `after`, by default than now; paused or not."""
        begin = max(self._services.clock.now(), schedule.done) if after is None else after
        return many(times_of(schedule), begin, 1 << 62, min(count, MOST_SHOWN))

    # --- making and changing -----------------------------------------------------------------

    async def create(
        self, workflow: str, definition: Definition, *, by: str = "", tenant: str = ""
    ) -> Schedule:
        """Make a schedule for a workflow that this app has. `by`: who says so; `tenant`: for whom.

        Raises `RunNotFound` for an unknown workflow, `InvalidInput`, and `ScheduleConflict` if
        there is one of that name.
        """
        found = self._services.app.workflow(workflow)
        check_name(definition.name)
        check_tenant(tenant)
        made = self._new(definition, found, by=by)
        made.tenant = tenant or definition.tenant
        stands = await self._store.create(made)
        if stands.mark != made.mark:
            told = f"there is a schedule {made.name!r} already: change it, or delete it first"
            raise ScheduleConflict(told)
        self._arm(stands)
        return stands

    async def change(self, name: str, definition: Definition, *, by: str = "") -> Schedule:
        """Let a schedule be made of something else from now on. Raises as `create` does.

        What is due by what it was made of before, and was not started, is started by the new one.
        """
        seen = await self.get(name)
        self._fits(self._services.app.workflow(seen.workflow), definition)
        return await self._change(name, lambda seen: self._redefined(seen, definition, by))

    async def pause(self, name: str, note: str = "", *, by: str = "") -> Schedule:
        """Let no run be started until `resume`. `note`: why, for people."""
        if len(note) > LONGEST_NOTE:
            raise InvalidInput(f"a note has at most {LONGEST_NOTE} characters", field="note")
        said = {"paused": True, "noted": note, "by": by}
        return await self._change(name, lambda seen: {**said, "due": _filling(seen, self._now)})

    async def resume(self, name: str, *, by: str = "") -> Schedule:
        """Let it start runs again. Nominal times that passed while it was paused have none."""

        def changes(seen: Schedule) -> Mapping[str, Any]:
            if not seen.paused:
                return {}
            made = {"paused": False, "noted": "", "by": by, "trouble": ""}
            return {**made, **self._placed(seen, max(seen.done, self._now), paused=False)}

        return await self._change(name, changes)

    async def delete(self, name: str) -> Schedule:
        """Remove a schedule; its runs stay. Raises `ScheduleNotFound`.

        One that the code has is made anew by the next process that starts with that code.
        """
        for _ in range(_TRIES):
            found = await self.get(name)
            if await self._store.remove(found):
                return found
        raise _busy(name)

    # --- starting runs -----------------------------------------------------------------------

    async def trigger(self, name: str, *, run: str | None = None) -> tuple[Header, bool]:
        """Start a run of it now, whatever it waits for, paused or not. `run`: its id.

        Returns it, and whether it is new. Raises as `Runs.start` does.
        """
        schedule, now = await self.get(name), self._now
        return await self._runs.start(
            schedule.workflow,
            definition_of(schedule).inputs,
            run=run,
            by=said_by(name),
            scheduled=(name, now),
            tenant=schedule.tenant,
        )

    async def backfill(
        self,
        name: str,
        since: Millis,
        until: Millis,
        *,
        queue: bool = False,
        by: str = "",
        dry_run: bool = False,
    ) -> tuple[Schedule, list[Millis]]:
        """Start the runs of nominal times of the past, from `since` on and before `until`.

        One that has a run keeps it. `queue`: each waits for the end of the one before. Returns the
        nominal times. Raises `InvalidInput` for none, or more than `MOST_FILLED`, and for times
        that are not over; `ScheduleConflict` if there are too many backfills before it.
        """
        schedule = await self.get(name)
        if until > self._now:
            raise InvalidInput("a backfill is of the past: until is later than now", field="until")
        found = many(times_of(schedule), since - 1, until, MOST_FILLED + 1)
        if not found:
            raise InvalidInput("the schedule has no time between since and until", field="since")
        if len(found) > MOST_FILLED:
            told = f"a backfill starts at most {MOST_FILLED:,} runs, and these are more"
            raise InvalidInput(f"{told}: take a part of that time", field="until")
        if dry_run:
            return schedule, found
        made = Backfill(found[0], until, queue)

        def changes(seen: Schedule) -> Mapping[str, Any]:
            if len(seen.backfills) >= MOST_BACKFILLS:
                raise ScheduleConflict(f"{MOST_BACKFILLS} backfills of {name!r} are not done yet")
            due = self._now if seen.due is None else min(seen.due, self._now)
            return {"backfills": [*seen.backfills, made], "due": due, "by": by or seen.by}

        return await self._change(name, changes), found

    # --- what the code says --------------------------------------------------------------------

    async def take_over(self) -> Millis | None:
        """Let the stored schedules be what the code of this app says.

        Returns when to do so again; None: all are that.
        """
        again = [
            await self._take_over(name, definition, workflow)
            for name, (definition, workflow) in self._services.app.schedules.items()
        ]
        return min((each for each in again if each is not None), default=None)

    async def _take_over(
        self, name: str, definition: Definition, workflow: Workflow[Any, Any]
    ) -> Millis | None:
        """Take one over; when to try again, while newer code is asked whether it is still run."""
        for _ in range(_TRIES):
            seen, digest = await self._store.find(name), definition.digest
            if seen is None:
                made = self._new(definition, workflow, name=name, code=digest)
                if (await self._store.create(made)).mark == made.mark:
                    log.info("schedule %s of %s is made: %s", name, workflow.name, definition.times)
                    self._arm(made)
                    return None
                continue
            if (seen.code, seen.workflow) == (digest, workflow.name):
                if not seen.trouble:
                    return None
                changes: Mapping[str, Any] = {"due": next_due(seen, seen.next), "trouble": ""}
            elif (until := self._asks_until(seen, digest, workflow.name)) is not None:
                if until > self._now:
                    return until
                changes = agreeing.asking(digest, workflow.name, self._now)
            else:
                begun = await self._begun(seen)
                known = msgspec.structs.replace(seen, **begun)
                changes = {**begun, **self._replaced(known, definition, workflow, digest)}
            new = await self._store.change(seen, self._services.unique(), changes)
            if new is None:
                continue
            self._arm(new)
            if not new.asks:
                return None
            self._asked[name] = new.asked
            return self._asks_until(new, digest, workflow.name)
        raise _busy(name)

    def _asks_until(self, seen: Schedule, code: str, workflow: str) -> Millis | None:
        """Until when to wait for whoever has newer code, or (not later than now) to ask; None:
        this one wins.
        """
        if not agreeing.was_replaced(seen, code, workflow):
            return None
        now, asked = self._now, self._asked.get(seen.name)
        until = agreeing.waits_until(seen, code, workflow, now, self._services.settings)
        if until is not None:
            return None if until <= now else until
        if asked is None or not now < asked + agreeing.AGAIN:
            log.info(
                "schedule %s: other code has replaced what this one says: is it run?", seen.name
            )
            return now
        told = "schedule %s: another server has newer code, which says otherwise: that stands"
        log.warning(told, seen.name)
        return asked + agreeing.AGAIN

    def _replaced(
        self, seen: Schedule, definition: Definition, workflow: Workflow[Any, Any], digest: str
    ) -> Mapping[str, Any]:
        """The changes by which a stored schedule becomes what the code says."""
        whose = f" by {seen.by}" if seen.by else ""
        told = f"the code says otherwise than before, and replaces {times_of(seen)}{whose}"
        log.warning("schedule %s: %s", seen.name, told)
        changes = self._redefined(seen, definition, "", hidden=list(workflow.inputs.hidden))
        noted = seen.noted if seen.paused else told
        known = agreeing.replacing(seen, digest, workflow.name)
        changes = {**changes, **known, "tenant": definition.tenant}
        return {**changes, "workflow": workflow.name, "code": digest, "noted": noted}

    # --- items -------------------------------------------------------------------------------

    @property
    def _now(self) -> Millis:
        return self._services.clock.now()

    def _new(
        self,
        definition: Definition,
        workflow: Workflow[Any, Any],
        *,
        name: str = "",
        by: str = "",
        code: str = "",
    ) -> Schedule:
        self._fits(workflow, definition)
        now, name = self._now, name or definition.name
        made = Schedule(name, workflow.name, now, done=now, by=by, code=code)
        made.mark, made.paused = self._services.unique(), definition.paused
        made.tenant = definition.tenant
        made.hidden = list(workflow.inputs.hidden)
        for field, value in definition.changes().items():
            setattr(made, field, value)
        made.next = definition.times.after(now)
        made.due = next_due(made, made.next)
        return made

    def _fits(self, workflow: Workflow[Any, Any], definition: Definition) -> None:
        """Raise `InvalidInput` unless the workflow takes the arguments."""
        workflow.recorded(definition.inputs)

    def _redefined(
        self, seen: Schedule, definition: Definition, by: str, hidden: list[str] | None = None
    ) -> Mapping[str, Any]:
        """The changes by which a schedule is made of something else."""
        changes: dict[str, Any] = {**definition.changes(), "by": by, "trouble": ""}
        changes["noted"] = seen.noted if seen.paused else ""  # why it is paused holds on
        if hidden is not None:
            changes["hidden"] = hidden
        pending = seen.next is not None and seen.next <= self._now and not seen.paused
        behind = seen.done if pending else max(seen.done, self._now)
        return {**changes, **self._placed(seen, behind, paused=seen.paused, **changes)}

    def _placed(
        self, seen: Schedule, behind: Millis, *, paused: bool, **made: Any
    ) -> Mapping[str, Any]:
        """The changes that place a schedule at its first nominal time behind this one.

        What was next is not behind it only where it was paused: what has no run for that is noted.
        """
        new = Schedule(seen.name, seen.workflow, seen.created, paused=paused)
        for field in ("cron", "tz", "period", "start", "jitter"):
            setattr(new, field, made.get(field, getattr(seen, field)))
        coming = times_of(new).after(behind)
        moments = (next_due(new, coming), _filling(seen, self._now))
        due = min((each for each in moments if each is not None), default=None)
        placed = {"done": behind, "next": coming, "due": due}
        if seen.next is None or seen.next > behind:
            return placed
        following = times_of(seen).after(seen.next)
        several = following is not None and following <= behind
        passed = Became(seen.next, why=PAUSED, until=coming if several else None)
        return {**placed, "skipped": seen.skipped + 1, "became": [*seen.became, passed][-KEPT:]}

    async def _change(
        self, name: str, changes: Callable[[Schedule], Mapping[str, Any]]
    ) -> Schedule:
        """Change a schedule as it stands. Raises `ScheduleNotFound`."""
        for _ in range(_TRIES):
            seen = await self.get(name)
            made = changes(seen)
            if not made:
                return seen
            if "next" in made:
                begun = await self._begun(seen)
                made = {**begun, **changes(msgspec.structs.replace(seen, **begun))}
            found = await self._store.change(seen, self._services.unique(), made)
            if found is not None:
                self._arm(found)
                return found
        raise _busy(name)

    async def _begun(self, seen: Schedule) -> Mapping[str, Any]:
        """What is to be written of the next run, if it was started and nobody has done so yet.

        Who has started it cannot any more, once the schedule has gone elsewhere.
        """
        if seen.next is None or seen.taken is None:
            return {}
        run = run_of_moment(seen, seen.next)
        found = await self._services.store.find(run)
        if found is None or (found.workflow, found.tenant) != (seen.workflow, seen.tenant):
            return {}
        became = [*seen.became, Became(seen.next, run=run)][-KEPT:]
        told = {"last": run, "started": seen.started + 1, "became": became, "taken": None}
        following = times_of(seen).after(seen.next)
        return {**told, "done": max(seen.done, seen.next), "next": following}

    def _arm(self, schedule: Schedule) -> None:
        """Let this process look at it when it is due, if that is before its next sweep."""
        services, due = self._services, schedule.due
        if due is not None and due <= self._now + services.settings.horizon:
            services.arm(Due(due, services.store.layout.schedule(schedule.name)))


def _filling(seen: Schedule, now: Millis) -> Millis | None:
    """When a schedule is due for its backfills."""
    return now if seen.backfills else None


def _busy(name: str) -> ScheduleConflict:
    return ScheduleConflict(f"schedule {name!r} changes all the time: try again")

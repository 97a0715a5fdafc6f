"""Starting the runs of schedules: what a sweep does with a schedule that is due.

A schedule is one item (`rewake.ledger.Schedule`), due when the run of its next nominal time is to
be started. Whoever sweeps takes it by one fenced write, which puts its due time off by a grace; so
of many processes one starts its runs, and if that dies the next sweep after the grace does. Then:

1. *A nominal time has one run.* The id of the run is made of the schedule and the nominal time, so
   starting it again finds it. The runs of all nominal times that are due are started first, and
   then one write moves `next` behind them. A death between is a repetition that finds them.
2. *`next` never goes back* behind what is done with, whatever clocks do (`Schedule.done`).
3. *None is lost within `catch_up`.* One that is due stays `next` until there is a run, or a reason
   why there is none, which is kept. While the run before goes on (`queue`, `cancel`), or nobody can
   start it (the app lacks the workflow, the arguments do not fit), it is looked at again and
   again, a tenth of the time later that this has lasted; and given up once it is too late.
4. What was missed for longer than `catch_up`, as no server ran, is passed over in one step. That a
   nominal time is in time says whoever takes the schedule first (`Schedule.taken`): if he dies, or
   stands still, its run may be there, or come yet, so the next to come starts it as he would have.
   So that he is in doubt of one run only, what has none is written down before one is started.
   Who moves the schedule elsewhere meanwhile (a resume, a change) writes down what was started.

A backfill is a second pair of moments in the same item, which the same code walks.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from rewake.app import App
from rewake.engine.runs.runs import Runs
from rewake.engine.schedules.agreeing import refuses
from rewake.engine.services import Services
from rewake.errors import InvalidInput, RunConflict, RunNotFound, RunRemoved, Throttled
from rewake.ledger import Backfill, Became, Schedule
from rewake.records import Header, Millis
from rewake.schedules.definition import Overlap, due_of, inputs_of, run_of_moment, times_of
from rewake.states import TERMINAL
from rewake.stores.table import Due

log = logging.getLogger("rewake.schedules")

AT_ONCE = 50
"""The most nominal times that are done with before what became of them is written down."""
KEPT = 20
"""So many of the newest nominal times an item tells what became of them."""
SOON: Millis = 1_000
LONGEST_WAIT: Millis = 300_000
"""The shortest and the longest time between two looks at a run that is waited for."""
FILLING: Millis = 5_000
"""The time between two looks at a run for which a backfill waits."""
LEEWAY: Millis = 120_000
"""What is late by no more than this is in time: where no process lives, a look is a minute away."""
MOST_ROUNDS = 20
"""So often one sweep looks at one schedule, of which much is due."""
STRANGE: Millis = 5_000
"""How long a process leaves a schedule to others that it cannot serve itself."""
LONGEST_WHY = 300


def next_due(schedule: Schedule, next: Millis | None) -> Millis | None:
    """When a schedule is due for its next nominal time; None: it is paused, or there is none."""
    return None if next is None or schedule.paused else due_of(schedule, next)


def _has_work(schedule: Schedule, now: Millis) -> bool:
    """Whether a nominal time is due, or a backfill."""
    due = next_due(schedule, schedule.next)
    return bool(schedule.backfills) or (due is not None and due <= now)


def _taken(schedule: Schedule, now: Millis) -> Millis:
    """Since when somebody starts what is due who is taking it now, or was taken over from."""
    taken, moment = schedule.taken, schedule.next
    if taken is None or moment is None or due_of(schedule, moment) > taken:
        return now  # it was taken for something else
    return taken


def is_served(app: App, schedule: Schedule) -> bool:
    """Whether this app may start its runs: it has the workflow, and what its code has, it has."""
    known = schedule.workflow in app.workflows
    return known and (not schedule.code or schedule.name in app.schedules)


def said_by(schedule: str) -> str:
    """Who has started a run of this schedule."""
    return f"schedule:{schedule}"


@dataclass(slots=True)
class _Look:
    """What one look at a schedule has found so far; `save` is what is written of it."""

    seen: Schedule
    now: Millis
    next: Millis | None
    done: Millis
    last: str
    backfills: list[Backfill]
    became: list[Became] = field(default_factory=list)
    started: int = 0
    skipped: int = 0
    trouble: str = ""
    again: Millis | None = None
    """When the next nominal time is looked at again, if that waits for something."""
    again_filling: Millis | None = None
    """The same of a backfill."""
    taken: Millis | None = None
    """Since when somebody may have started what is due, of which this look knows nothing."""

    @property
    def changes(self) -> Mapping[str, Any]:
        """The changes of the item."""
        told = [*self.seen.became, *self.became][-KEPT:]
        counts = {"started": self.seen.started + self.started}
        counts["skipped"] = self.seen.skipped + self.skipped
        more = {"backfills": self.backfills, "trouble": self.trouble, "became": told}
        places = {"next": self.next, "done": self.done, "last": self.last}
        return {**places, **counts, **more, "due": self.due, "taken": self.taken}

    @property
    def due(self) -> Millis | None:
        """When the item is due next."""
        coming = next_due(self.seen, self.next) if self.again is None else self.again
        filling = (self.again_filling or self.now) if self.backfills else None
        asked = self.now if self.seen.asks else None
        return min((each for each in (coming, filling, asked) if each is not None), default=None)

    def pass_on(self, next: Millis | None) -> None:
        """Be done with the nominal times before this one."""
        assert self.next is not None
        before = self.next if next is None else next - 1
        self.next, self.done = next, max(self.done, before)

    def skip(self, moment: Millis, why: str, until: Millis | None = None) -> None:
        """Note that a nominal time, or some, have no run."""
        self.skipped += 1
        self.became.append(Became(moment, why=why[:LONGEST_WHY], until=until))


class Scheduler:
    """Starts the runs of the schedules of one store, as one process."""

    def __init__(self, services: Services, runs: Runs) -> None:
        self._services = services
        self._store = services.store.schedules
        self._runs = runs

    async def look(self, schedule: Schedule) -> None:
        """Start what is due of a schedule, unless another process does."""
        found: Schedule | None = schedule
        for _ in range(MOST_ROUNDS):
            now = self._services.clock.now()
            due = None if found is None else found.due
            if found is None or due is None:
                return
            if due > now:
                if due <= now + self._services.settings.horizon:  # a sweep may be a minute away
                    self._services.arm(Due(due, self._services.store.layout.schedule(found.name)))
                return
            if found.asks and not _has_work(found, now):
                found = await self._answer(found)
                continue
            served = is_served(self._services.app, found)
            if not served and now - due < STRANGE:
                return  # who can serve it may be about to
            found = await self._look(found, now, served=served)

    async def _answer(self, found: Schedule) -> Schedule | None:
        """Answer a server with earlier code, if this one has the newer; None: it has not."""
        if not refuses(self._services.app, found):
            return None
        changes = {"asks": "", "asked": 0, "due": next_due(found, found.next)}
        return await self._store.change(found, self._services.unique(), changes)

    async def _look(self, schedule: Schedule, now: Millis, *, served: bool) -> Schedule | None:
        """One round. Returns the schedule as it is then; None: another process has it."""
        walks = served and not schedule.paused
        since = _taken(schedule, now) if walks else schedule.taken
        put_off = {"due": now + self._services.settings.grace, "taken": since}
        taken = await self._store.change(schedule, self._services.unique(), put_off)
        if taken is None:
            return None
        look = _Look(taken, now, taken.next, taken.done, taken.last, list(taken.backfills))
        look.taken = None if walks else taken.taken
        if served:
            await self._walk(look)
            for _ in range(AT_ONCE):
                if not await self._fill(look):
                    break
        else:
            await self._leave(look)
        for each in look.became:  # before it is written: a death between tells of it again
            if each.why:
                await self._services.hooks.tell_skipped(taken, each.at, each.why)
        written = await self._store.change(taken, self._services.unique(), look.changes)
        if written is not None:
            self._tell(look)
        return written

    async def _leave(self, look: _Look) -> None:
        """Leave a schedule whose runs no process here can start as it is, for a while."""
        schedule = look.seen
        gone = schedule.workflow in self._services.app.workflows
        why = f"no server that looked has the workflow {schedule.workflow}"
        if gone:
            why = "the code has it no more: put it back there, or delete it"
        if not schedule.paused and look.next is not None and await self._pass_over(look, look.next):
            look.taken = None
        since = look.now if look.next is None else due_of(schedule, look.next)
        if next_due(schedule, look.next) is not None and since <= look.now:
            self._wait(look, since, why)
        if look.backfills:
            look.trouble, look.again_filling = why, look.now + LONGEST_WAIT

    # --- nominal times as they come ----------------------------------------------------------

    async def _walk(self, look: _Look) -> None:
        """Do with the nominal times that are due, in order, what is to be done."""
        schedule = look.seen
        if schedule.paused:
            return
        for _ in range(AT_ONCE):
            moment = look.next
            if moment is None or due_of(schedule, moment) > look.now or self._is_late(look):
                return
            if await self._pass_over(look, moment) or await self._holds_up(look, moment):
                return
            if look.next != moment:
                continue  # it was skipped
            if look.became and schedule.overlap != Overlap.ALLOW:
                return  # what has no run is written down first, and what has one
            try:
                look.last = await self._start(look, moment) or look.last
            except Throttled as refused:  # it is as if a caller had been refused
                look.skip(moment, str(refused))
            except InvalidInput as error:
                self._wait(look, due_of(schedule, moment), _misfit(error))
                return
            look.pass_on(times_of(schedule).after(moment))

    def _is_late(self, look: _Look) -> bool:
        """Whether this process stood still since it took the schedule: others may have it."""
        return self._services.clock.now() - look.now > self._services.settings.grace // 2

    async def _pass_over(self, look: _Look, first: Millis) -> bool:
        """Give up this nominal time, and others, if it is later than may be. False: it is not."""
        schedule = look.seen
        latest = schedule.catch_up + LEEWAY
        if look.now - due_of(schedule, first) <= latest or await self._is_begun(look, first):
            return False
        why = schedule.trouble or "no server could start it in time"
        times = times_of(schedule)
        # No earlier than that is what may still be started; the jitter of each is another one.
        begin = max(first, look.now - latest - schedule.jitter - 1)
        moment: Millis | None = times.after(begin)
        while moment is not None and look.now - due_of(schedule, moment) > latest:
            moment = times.after(moment)
        look.pass_on(moment)
        one = moment == times.after(first)
        look.skip(first, f"{why}, and it is later than catch_up allows", None if one else moment)
        return True

    async def _is_begun(self, look: _Look, moment: Millis) -> bool:
        """Whether this run is there, or somebody took the schedule in time who may start it yet."""
        schedule, taken = look.seen, look.seen.taken
        due = due_of(schedule, moment)
        in_time = taken is not None and due <= taken <= due + schedule.catch_up + LEEWAY
        if in_time and look.now - (taken or 0) <= self._services.settings.later:
            return True
        return await self._services.store.find(run_of_moment(schedule, moment)) is not None

    async def _holds_up(self, look: _Look, moment: Millis) -> bool:
        """Whether the run before goes on, so that this one is not started: it is noted what is."""
        schedule = look.seen
        overlap = Overlap(schedule.overlap)
        before = None if overlap is Overlap.ALLOW else await self._going_on(look.last)
        if before is None:
            return False
        if look.last == run_of_moment(schedule, moment):
            return False  # it is this one: who started it died before that was written
        times = times_of(schedule)
        if overlap is Overlap.SKIP:
            look.skip(moment, f"run {look.last} has not ended")
            look.pass_on(times.after(moment))
            return False
        if overlap is Overlap.CANCEL:
            await self._cancel(look, before, moment)
        # By how long that takes, not by how late this one is: else a long line would move slowly.
        self._wait(look, before.created, f"run {look.last} has not ended")
        return True

    async def _cancel(self, look: _Look, before: Header, moment: Millis) -> None:
        """Ask the run before to cancel; only the newest nominal time that is due waits for it."""
        schedule, times = look.seen, times_of(look.seen)
        if not before.cancels:
            told = f"the next run of schedule {schedule.name} is due"
            try:
                await self._runs.cancel(look.last, told, even_stuck=True)
            except (RunConflict, RunNotFound):
                log.debug("run %s has ended meanwhile", look.last)
        for _ in range(AT_ONCE):
            later = times.after(moment)
            if later is None or due_of(schedule, later) > look.now:
                break
            look.skip(moment, "a newer one is due, and the run before has not ended")
            look.pass_on(later)
            moment = later

    async def _going_on(self, run: str) -> Header | None:
        """The run, if it has not ended."""
        found = await self._services.store.find(run) if run else None
        return None if found is None or found.state in TERMINAL else found

    def _wait(self, look: _Look, since: Millis, why: str) -> None:
        waited = max(0, look.now - since)
        look.trouble = why[:LONGEST_WHY]
        look.again = look.now + min(max(SOON, waited // 10), LONGEST_WAIT)

    # --- those of the past -------------------------------------------------------------------

    async def _fill(self, look: _Look) -> bool:
        """Start the run of the next nominal time of the oldest backfill. False: there is none."""
        if not look.backfills or self._is_late(look):
            return False
        fill = look.backfills[0]
        if fill.queue and await self._going_on(fill.last):
            look.again_filling = look.now + FILLING
            return False
        try:
            run = await self._start(look, fill.next) or fill.last
        except Throttled as refused:  # nothing is late yet: it waits
            wait = min(max(FILLING, int(refused.seconds * 1000)), LONGEST_WAIT)
            look.trouble, look.again_filling = str(refused)[:LONGEST_WHY], look.now + wait
            return False
        except InvalidInput as error:
            why, look.again_filling = _misfit(error), look.now + LONGEST_WAIT
            look.trouble = why[:LONGEST_WHY]
            return False
        following = times_of(look.seen).after(fill.next)
        if following is None or following >= fill.until:
            look.backfills.pop(0)
        else:
            look.backfills[0] = msgspec.structs.replace(fill, next=following, last=run)
        return True

    # --- one run -----------------------------------------------------------------------------

    async def _start(self, look: _Look, moment: Millis) -> str:
        """Start the run of a nominal time, or find it. Returns its id; empty: it can have none.

        Raises `Throttled`, and `InvalidInput` if its arguments do not fit.
        """
        schedule = look.seen
        run = run_of_moment(schedule, moment)
        try:
            header, _ = await self._runs.start(
                schedule.workflow,
                inputs_of(schedule),
                run=run,
                compare=False,
                by=said_by(schedule.name),
                scheduled=(schedule.name, moment),
                tenant=schedule.tenant,
            )
        except RunRemoved:
            pass  # it was, and has been removed since
        except RunConflict:
            look.skip(moment, f"there is a run {run} of another workflow or tenant")
            return ""
        else:
            run = header.run
        look.started += 1
        look.became.append(Became(moment, run=run))
        return run

    def _tell(self, look: _Look) -> None:
        name = look.seen.name
        for each in look.became:
            if each.why:
                log.warning("schedule %s: a run is left out: %s", name, each.why)
        if look.trouble and look.trouble != look.seen.trouble:
            log.info("schedule %s waits: %s", name, look.trouble)


def _misfit(error: InvalidInput) -> str:
    return f"its arguments do not fit: {error}"

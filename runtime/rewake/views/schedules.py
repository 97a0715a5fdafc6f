"""The view of a schedule."""

from __future__ import annotations

import msgspec
from msgspec import Raw

from rewake.ledger import Became, Schedule
from rewake.schedules.definition import times_of
from rewake.values.redaction import redacted
from rewake.views.moments import moment, moment_or_none


class BecameView(msgspec.Struct, frozen=True, omit_defaults=True):
    """What became of a nominal time: a run, or nothing, and why. `until`: of several nominal
    times, where the next ones begin.
    """

    at: str
    run: str | None = None
    why: str | None = None
    until: str | None = None


class BackfillView(msgspec.Struct, frozen=True):
    """Nominal times of the past, from `next` on, for which runs are still to be started."""

    next: str
    until: str
    queue: bool


class ScheduleView(msgspec.Struct, frozen=True):
    """A schedule. `state`: `active`, `paused`, `waiting` (for what `trouble` says), or `over`, as
    it has no time left. `cron` and `tz`, or `every` (seconds) and `start`. Durations are seconds.
    `next`: the next nominal time; `due`: when it is looked at. `code`: it is declared in code;
    `by`: who made it or changed it since. `started`, `skipped`: how many nominal times had a run,
    and had none. `became`: of the newest ones, the newest last. `served`: this server can start its
    runs.
    """

    name: str
    workflow: str
    state: str
    cron: str | None
    tz: str | None
    every: float | None
    start: str | None
    input: Raw
    jitter: float
    overlap: str
    catch_up: float
    created: str
    next: str | None
    due: str | None
    code: bool
    by: str | None
    note: str | None
    last: str | None
    tenant: str | None
    started: int
    skipped: int
    served: bool
    trouble: str | None
    became: list[BecameView]
    backfills: list[BackfillView]


def schedule_view(schedule: Schedule, *, served: bool) -> ScheduleView:
    """The view of a schedule. `served`: who tells it can start its runs."""
    return ScheduleView(
        name=schedule.name,
        workflow=schedule.workflow,
        state=_state(schedule),
        cron=schedule.cron or None,
        tz=schedule.tz or None,
        every=schedule.period / 1000 if schedule.period else None,
        start=moment(schedule.start) if schedule.start else None,
        input=redacted(Raw(schedule.inputs.encode()), schedule.hidden),
        jitter=schedule.jitter / 1000,
        overlap=schedule.overlap,
        catch_up=schedule.catch_up / 1000,
        created=moment(schedule.created),
        next=moment_or_none(schedule.next),
        due=moment_or_none(schedule.due),
        code=bool(schedule.code),
        by=schedule.by or None,
        note=schedule.noted or None,
        last=schedule.last or None,
        tenant=schedule.tenant or None,
        started=schedule.started,
        skipped=schedule.skipped,
        served=served,
        trouble=schedule.trouble or None,
        became=[_became(each) for each in schedule.became],
        backfills=[
            BackfillView(moment(each.next), moment(each.until), each.queue)
            for each in schedule.backfills
        ],
    )


class ComingView(msgspec.Struct, frozen=True):
    """A nominal time to come: when it is, what its run is called, and what clocks there show."""

    at: str
    run: str
    local: str


def coming_view(schedule: Schedule, at: int, run: str) -> ComingView:
    """The view of a nominal time."""
    return ComingView(moment(at), run, times_of(schedule).name(at))


def _state(schedule: Schedule) -> str:
    if schedule.paused:
        return "paused"
    if schedule.next is None:
        return "over"
    return "waiting" if schedule.trouble else "active"


def _became(each: Became) -> BecameView:
    return BecameView(
        moment(each.at), each.run or None, each.why or None, moment_or_none(each.until)
    )

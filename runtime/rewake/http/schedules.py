"""The endpoints of schedules."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.scheduling import ScheduleOptions, cron, every
from rewake.engine.schedules.schedules import MOST_SHOWN
from rewake.errors import InvalidInput, RunNotFound, ScheduleNotFound
from rewake.http.admission import act_of, principal_of, tenant_of
from rewake.http.bodies import (
    LARGEST_PAGE,
    query_limit,
    query_moment_or_none,
    query_whole,
    read_object,
    shaped,
    takes_query,
)
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import located, parts_of, reply
from rewake.ledger import Schedule
from rewake.records import Millis
from rewake.schedules.definition import Definition, inputs_of, run_of_moment
from rewake.stores.keys import is_schedule_place, schedule_sort
from rewake.views.moments import millis_of
from rewake.views.runs import run_view
from rewake.views.schedules import ScheduleView, coming_view, schedule_view

SHOWN = 10


class Times(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """What a schedule can be made of: `cron` (and `tz`), or `every` (and `start`). Durations are
    seconds. What is not said stays as it is.
    """

    cron: str | None = None
    tz: str | None = None
    every: float | None = None
    start: str | None = None
    input: dict[str, Any] | None = None
    jitter: float | None = None
    overlap: str | None = None
    catch_up: float | None = None


class NewSchedule(Times, forbid_unknown_fields=True, kw_only=True):
    """The body of a request for a new schedule."""

    name: str
    workflow: str
    paused: bool = False
    tenant: str = ""


class Pause(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to pause a schedule. `note`: why."""

    note: str = ""


class Trigger(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to start a run of a schedule now. `id`: of the run."""

    id: str | None = None


class Fill(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request for runs of the past, from `since` on and before `until`, or now.

    `queue`: each waits for the end of the one before. `dry_run`: only tell which.
    """

    since: str
    until: str | None = None
    queue: bool = False
    dry_run: bool = False


@takes_query("cursor", "limit", "tenant", "workflow")
async def listing(request: Request) -> Response:
    """`GET /v1/schedules`: by name."""
    limit, place = query_limit(request), place_in(request, "cursor", str, is_schedule_place)
    wanted, owns = request.query_params.get("workflow"), principal_of(request).owns
    tenant, found = tenant_of(request), list[Schedule]()
    while len(found) <= limit:  # a cursor names one that is shown: not all may know of all
        page = await parts_of(request).engine.schedules.page(limit=LARGEST_PAGE, cursor=place)
        found += [
            each
            for each in page.schedules
            if owns(each.workflow, each.tenant)
            and wanted in (None, each.workflow)
            and tenant in ("", each.tenant)
        ]
        if (place := page.cursor) is None:
            break
    shown = found[:limit]
    sort = schedule_sort(shown[-1].name) if len(found) > limit else None
    views = [_view(request, each) for each in shown]
    return reply({"schedules": views, "cursor": next_cursor(sort)})


async def create(request: Request) -> Response:
    """`POST /v1/schedules`: make a schedule."""
    parts = parts_of(request)
    asked = shaped(await read_object(request, parts.limit), NewSchedule)
    act_of(request).about = asked.name
    if not principal_of(request).sees(asked.workflow):
        raise RunNotFound(f"there is no workflow {asked.workflow!r}")
    if asked.cron is None and asked.every is None:
        raise InvalidInput("a schedule has cron, or every", field="cron")
    definition = _definition(asked, asked.name, {}, paused=asked.paused)
    who = principal_of(request)
    if who.tenant and asked.tenant not in ("", who.tenant):
        raise InvalidInput(f"this token is for runs of {who.tenant!r} alone", field="tenant")
    made = await parts.engine.schedules.create(
        asked.workflow, definition, by=who.who, tenant=asked.tenant or who.tenant
    )
    view = _view(request, made)
    return reply(view, 201, {"Location": located(request, f"/v1/schedules/{made.name}")})


async def get(request: Request) -> Response:
    """`GET /v1/schedules/{schedule}`: what it is, and what became of its newest times."""
    return reply(_view(request, await _known(request)))


async def change(request: Request) -> Response:
    """`POST /v1/schedules/{schedule}`: let it be made of something else."""
    parts, seen = parts_of(request), await _known(request)
    asked = shaped(await read_object(request, parts.limit), Times)
    definition = _definition(asked, seen.name, _as_it_is(seen))
    by = principal_of(request).who
    return reply(_view(request, await parts.engine.schedules.change(seen.name, definition, by=by)))


async def pause(request: Request) -> Response:
    """`POST /v1/schedules/{schedule}/pause`: let it start no run until it is resumed."""
    parts, seen = parts_of(request), await _known(request)
    asked = shaped(await read_object(request, parts.limit), Pause)
    by = principal_of(request).who
    return reply(_view(request, await parts.engine.schedules.pause(seen.name, asked.note, by=by)))


async def resume(request: Request) -> Response:
    """`POST /v1/schedules/{schedule}/resume`: let it start runs again."""
    parts, seen = parts_of(request), await _known(request)
    shaped(await read_object(request, parts.limit), Nothing)
    by = principal_of(request).who
    return reply(_view(request, await parts.engine.schedules.resume(seen.name, by=by)))


async def trigger(request: Request) -> Response:
    """`POST /v1/schedules/{schedule}/trigger`: start a run of it now."""
    parts, seen = parts_of(request), await _known(request)
    asked = shaped(await read_object(request, parts.limit), Trigger)
    with parts.load.starting():
        header, new = await parts.engine.schedules.trigger(seen.name, run=asked.id)
    act_of(request).run = header.run
    view = run_view(header)
    replayed = {} if new else {"Idempotency-Replayed": "true"}
    return reply(view, 202, {"Location": located(request, view.links.self), **replayed})


async def backfill(request: Request) -> Response:
    """`POST /v1/schedules/{schedule}/backfill`: start the runs of times of the past."""
    parts, seen = parts_of(request), await _known(request)
    asked = shaped(await read_object(request, parts.limit), Fill)
    act_of(request).skip = asked.dry_run
    since, until = _moment("since", asked.since), parts.clock.now()
    if asked.until is not None:
        until = _moment("until", asked.until)
    found, moments = await parts.engine.schedules.backfill(
        seen.name,
        since,
        until,
        queue=asked.queue,
        by=principal_of(request).who,
        dry_run=asked.dry_run,
    )
    coming = [coming_view(found, each, run_of_moment(found, each)) for each in moments]
    return reply({"count": len(coming), "times": coming}, 200 if asked.dry_run else 202)


@takes_query("after", "count")
async def upcoming(request: Request) -> Response:
    """`GET /v1/schedules/{schedule}/next`: its next nominal times."""
    seen, count = await _known(request), query_whole(request, "count", 1, MOST_SHOWN, SHOWN)
    after = query_moment_or_none(request, "after")
    found = parts_of(request).engine.schedules.coming(seen, after, count)
    return reply({"times": [coming_view(seen, each, run_of_moment(seen, each)) for each in found]})


async def delete(request: Request) -> Response:
    """`DELETE /v1/schedules/{schedule}`: remove it; its runs stay."""
    seen = await _known(request)
    return reply(_view(request, await parts_of(request).engine.schedules.delete(seen.name)))


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A body without anything in it."""


async def _known(request: Request) -> Schedule:
    """The schedule that is asked about. Raises `ScheduleNotFound`, also if it may not be known."""
    name = request.path_params["schedule"]
    act_of(request).about = name
    found = await parts_of(request).engine.schedules.get(name)
    if not principal_of(request).owns(found.workflow, found.tenant):
        raise ScheduleNotFound(f"there is no schedule {name!r}")
    return found


def _view(request: Request, schedule: Schedule) -> ScheduleView:
    served = parts_of(request).engine.schedules.is_served(schedule)
    return schedule_view(schedule, served=served)


def _as_it_is(seen: Schedule) -> Mapping[str, Any]:
    """What a schedule is made of, as a request would say it."""
    return {
        "cron": seen.cron or None,
        "tz": seen.tz or None,
        "every": seen.period / 1000 if seen.period else None,
        "start": seen.start or None,
        "input": inputs_of(seen),
        "jitter": seen.jitter / 1000,
        "overlap": seen.overlap,
        "catch_up": seen.catch_up / 1000,
    }


def _definition(
    asked: Times, name: str, stands: Mapping[str, Any], *, paused: bool = False
) -> Definition:
    """The definition that a request makes of what stands. Raises `InvalidInput`."""
    if asked.cron is not None and asked.every is not None:
        raise InvalidInput("a schedule has cron, or every, and not both", field="every")
    said = msgspec.structs.asdict(asked)
    if said["start"] is not None:
        said["start"] = _moment("start", said["start"])
    if asked.cron is not None or asked.every is not None:
        other = ("every", "start") if asked.cron is not None else ("cron", "tz")
        stands = {key: value for key, value in stands.items() if key not in other}
    made = {**stands, **{key: value for key, value in said.items() if value is not None}}
    options: dict[str, Any] = {"name": name, "paused": paused}
    options |= {key: made[key] for key in _OPTIONS if made.get(key) is not None}
    if made.get("cron") is not None:
        if made.get("start") is not None:
            raise InvalidInput("start goes with every", field="start")
        return cron(made["cron"], tz=made.get("tz") or "UTC", **options)
    if made.get("tz") is not None:
        raise InvalidInput("tz goes with cron", field="tz")
    start = made.get("start")
    begin = None if start is None else datetime.fromtimestamp(start / 1000, UTC)
    return every(made["every"], start=begin, **options)


_OPTIONS = tuple(
    key for key in ScheduleOptions.__annotations__ if key not in ("name", "paused", "tenant")
)


def _moment(field: str, text: str) -> Millis:
    try:
        return millis_of(text)
    except (ValueError, OverflowError):
        told = f"{field} must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput(told, field=field) from None

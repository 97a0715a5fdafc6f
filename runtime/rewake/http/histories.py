"""The endpoints of what a run has done: its history, its operations, its logs, in pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from rewake.errors import RunNotFound
from rewake.http.bodies import query_choice, query_whole, takes_query
from rewake.http.cursors import place_in
from rewake.http.parts import Parts, operation_in, parts_of, reply
from rewake.kinds import Kind
from rewake.records import Header
from rewake.spelled import key_meant
from rewake.stores.cursors import cursor_of
from rewake.stores.pages import Place, check_place
from rewake.views.history_pages import (
    LOOKED_AT,
    Asked,
    HistoryPage,
    Only,
    history_page,
    one_operation,
)
from rewake.views.log_pages import Lines, LogPlace, log_page
from rewake.views.moments import moment
from rewake.views.runs import STATES, run_view
from rewake.views.timeline import OPERATION_STATES, OperationView
from rewake.views.values import Values

LARGEST_PAGE = 1_000
"""The most entries, operations or lines of a page."""
COLUMNS = (
    "key",
    "kind",
    "name",
    "state",
    "asked",
    "started",
    "ended",
    "due",
    "duration",
    "attempts",
    "lost",
)
"""What a page of operations has of each, where it is asked for as columns."""
_KINDS: Mapping[str, Kind] = {each.value: each for each in Kind}
_OPERATION_STATES = {each: each for each in OPERATION_STATES}
LEVELS = {each: each for each in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "STDOUT")}
_FORMATS = {"columns": True}


@takes_query("after", "limit")
async def history(request: Request) -> Response:
    """`GET /v1/runs/{run}/history`: a page of its entries, and how each operation stands."""
    parts, run = parts_of(request), request.path_params["run"]
    limit = query_whole(request, "limit", 1, LARGEST_PAGE, LARGEST_PAGE)
    header = await parts.engine.get(run)
    values = Values(parts.keys.secret, run)
    page = await _page(request, parts, header, Asked(limit, values=values))
    return reply(
        {
            "run": run_view(header, secret=parts.keys.secret),
            "entries": page.entries,
            "operations": page.operations,
            "changed": page.changed,
            **_places(page),
        }
    )


@takes_query("after", "format", "kind", "limit", "q", "state", "under")
async def operations(request: Request) -> Response:
    """`GET /v1/runs/{run}/operations`: a page of its operations, without any values."""
    parts, query = parts_of(request), request.query_params
    limit = query_whole(request, "limit", 1, LARGEST_PAGE, 200)
    kind = query_choice(request, "kind", _KINDS)
    state = query_choice(request, "state", _OPERATION_STATES)
    columns = query_choice(request, "format", _FORMATS)
    header = await parts.engine.get(request.path_params["run"])
    only = Only(kind, key_meant(query.get("under", "")), query.get("q", ""))
    page = await _page(request, parts, header, Asked(LOOKED_AT, limit, only))
    shown = [each for each in page.operations if state in (None, each.state)]
    changed = [each for each in page.changed if state in (None, each.state)]
    rows: dict[str, Any] = {"operations": shown}
    if columns:
        rows = {"columns": COLUMNS, "rows": [_row(each) for each in shown]}
    about = {
        "id": header.run,
        "state": STATES[header.state],
        "now": moment(parts.clock.now()),
        "entries": header.count,
    }
    return reply({**about, **rows, "changed": changed, **_places(page)})


@takes_query("after")
async def operation(request: Request) -> Response:
    """`GET /v1/runs/{run}/operations/{key}`: one operation, with what it took and came to.

    `after`: the cursor of a page that has it, from where it is looked for.
    """
    parts, (run, key) = parts_of(request), operation_in(request)
    header = await parts.engine.get(run)
    asked = await _asked(parts, header, Asked(1, values=Values(parts.keys.secret, run)))
    place = _place(request, header)
    found = await one_operation(parts.engine.services.store, header, place, key, asked)
    if found is None:
        raise RunNotFound(f"run {run!r} has no operation {key!r}")
    return reply(found)


@takes_query("after", "key", "level", "limit", "q")
async def logs(request: Request) -> Response:
    """`GET /v1/runs/{run}/logs`: a page of the lines that a run logged, in order of time.

    `key=` selects one operation, and the empty key the workflow's body.
    """
    parts, query = parts_of(request), request.query_params
    limit = query_whole(request, "limit", 1, LARGEST_PAGE, LARGEST_PAGE)
    key = key_meant(query["key"]) if "key" in query else None
    wanted = Lines(key, query_choice(request, "level", LEVELS), query.get("q", ""))
    header = await parts.engine.get(request.path_params["run"])
    place = place_in(request, "after", LogPlace) or LogPlace()
    if place.body is not None:
        check_place(place.body)
    page = await log_page(parts.engine.services.store, header, place, wanted, limit)
    cursor = None if page.place is None else cursor_of(page.place)
    return reply({"id": header.run, "lines": page.lines, "cursor": cursor})


async def _page(request: Request, parts: Parts, header: Header, asked: Asked) -> HistoryPage:
    store, place = parts.engine.services.store, _place(request, header)
    return await history_page(store, header, place, await _asked(parts, header, asked))


async def _asked(parts: Parts, header: Header, asked: Asked) -> Asked:
    """The same, with what only processes know of the steps that go on."""
    running = parts.engine.running_steps(header.run)
    elsewhere = await parts.engine.held_elsewhere(header)
    return asked._replace(running=running, elsewhere=elsewhere)


def _place(request: Request, header: Header) -> Place:
    place = place_in(request, "after", Place)
    if place is None:
        return Place(round=header.round)
    check_place(place)
    return place


def _places(page: HistoryPage) -> dict[str, str | None]:
    """`cursor`: of the next page, null if there is none yet; `position`: where it will begin."""
    position = cursor_of(page.place)
    return {"cursor": position if page.more else None, "position": position}


def _row(view: OperationView) -> list[Any]:
    return [getattr(view, name) for name in COLUMNS]

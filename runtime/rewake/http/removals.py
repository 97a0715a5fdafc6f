"""The endpoints that keep runs and remove them."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import check_tenant
from rewake.engine.runs.listing import Wanted
from rewake.errors import InvalidInput
from rewake.http.admission import act_of, principal_of
from rewake.http.bodies import read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.http.runs import Action, action_of
from rewake.states import ENDED, RunState
from rewake.stores.keys import is_view_place
from rewake.views.moments import millis_of
from rewake.views.runs import run_view

_ENDS = {state.value: state for state in ENDED}


class Purge(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to purge: runs that ended before then, of a workflow, tenant, states.

    `dry_run`: only say which these are.
    """

    before: str
    workflow: str | None = None
    states: list[str] = []
    tenant: str = ""
    dry_run: bool = False


async def hold(request: Request) -> Response:
    """`POST /v1/runs/{run}/hold`: keep a run from being removed."""
    engine, run, asked = await action_of(request, Action)
    return reply(run_view(await engine.hold(run, dry_run=asked.dry_run)))


async def unhold(request: Request) -> Response:
    """`POST /v1/runs/{run}/unhold`: let it be removed when its time is over."""
    engine, run, asked = await action_of(request, Action)
    return reply(run_view(await engine.unhold(run, dry_run=asked.dry_run)))


async def erase(request: Request) -> Response:
    """`POST /v1/runs/{run}/erase`: remove an ended run now; answers it as it was."""
    engine, run, asked = await action_of(request, Action)
    return reply(run_view(await engine.erase(run, dry_run=asked.dry_run)))


@takes_query("cursor")
async def purge(request: Request) -> Response:
    """`POST /v1/purge`: remove ended runs, a page at a time; they go within a minute."""
    parts = parts_of(request)
    place = place_in(request, "cursor", str, is_view_place)
    asked = shaped(await read_object(request, parts.limit), Purge)
    act_of(request).skip = asked.dry_run
    try:
        before = millis_of(asked.before)
    except (ValueError, OverflowError):
        told = "before must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput(told, field="before") from None
    seen = principal_of(request).workflows
    check_tenant(asked.tenant)
    states = _states(asked.states)
    wanted = Wanted(asked.workflow, states, workflows=seen, tenant=asked.tenant)
    found = await parts.engine.purge(wanted, before, cursor=place, dry_run=asked.dry_run)
    runs, held = ([run_view(each) for each in some] for some in (found.runs, found.held))
    return reply({"runs": runs, "held": held, "cursor": next_cursor(found.cursor)})


def _states(names: list[str]) -> list[RunState]:
    """The states in which runs end, of these names; all of them if there are none."""
    unknown = [name for name in names if name not in _ENDS]
    if unknown:
        told = f"runs end in {', '.join(_ENDS)}, and not in {unknown[0]!r}"
        raise InvalidInput(told, field="states")
    return [_ENDS[name] for name in names or _ENDS]

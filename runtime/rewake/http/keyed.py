"""The endpoints of keyed states: list them, read one, write it while nobody holds it, remove it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.authoring.keyed import check_place
from rewake.engine.outside.keyed import States
from rewake.engine.outside.signals import Signals
from rewake.errors import InsufficientScope, RunNotFound
from rewake.http.admission import act_of, principal_of, tenant_of
from rewake.http.bodies import query_limit, read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.keyed import State
from rewake.stores.named import is_state_place


class StateBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to write a state: only if it is of this `version` still, if one is
    said; 0: there is none.
    """

    value: Any
    version: int | None = None


class StateView(msgspec.Struct, frozen=True):
    """A keyed state. `held_by`: the run that has it now; `waiting`: how many wait for it."""

    name: str
    key: str
    value: Any
    version: int
    held_by: str | None
    waiting: int


class ListedState(msgspec.Struct, frozen=True):
    """A keyed state in a list, without its value."""

    name: str
    key: str
    version: int
    held_by: str | None
    waiting: int


class StatesPage(msgspec.Struct, frozen=True):
    """Keyed states, by name and key."""

    states: list[ListedState]
    cursor: str | None


@takes_query("cursor", "limit", "name", "tenant")
async def listing(request: Request) -> Response:
    """`GET /v1/state`: the states of a tenant, or of none, by name and key."""
    tenant, name = _tenant(request, Scope.READ), request.query_params.get("name", "")
    if name:
        check_place(name, "-")
    limit, cursor = query_limit(request), place_in(request, "cursor", str, is_state_place)
    found, following = await _states(request).page(tenant, name, limit=limit, cursor=cursor)
    return reply({"states": [_listed(each) for each in found], "cursor": next_cursor(following)})


@takes_query("tenant")
async def get(request: Request) -> Response:
    """`GET /v1/state/{state}/{key}`: the value of a state, and who has it."""
    tenant, name, key = _place(request, Scope.READ)
    found = await _states(request).read(name, key, tenant)
    if found is None:
        raise RunNotFound(f"there is no state {name}/{key}")
    return reply(_view(found[1], found[0]))


@takes_query("tenant")
async def write(request: Request) -> Response:
    """`PUT /v1/state/{state}/{key}`: write a state while nobody holds it."""
    tenant, name, key = _place(request, Scope.START)
    body = shaped(await read_object(request, parts_of(request).limit), StateBody)
    made = await _states(request).write(name, key, body.value, body.version, tenant)
    return reply(_view(made, body.value))


@takes_query("tenant")
async def remove(request: Request) -> Response:
    """`DELETE /v1/state/{state}/{key}`: remove a state while nobody holds it."""
    tenant, name, key = _place(request, Scope.START)
    found = await _states(request).remove(name, key, tenant)
    if found is None:
        raise RunNotFound(f"there is no state {name}/{key}")
    return reply(_listed(found))


def _tenant(request: Request, scope: Scope) -> str:
    if principal_of(request).workflows:  # it is of no workflow, and all of them may have it
        told = "this token is limited to some workflows, and a state is for all of them"
        raise InsufficientScope(told, scope=scope)
    return tenant_of(request)


def _place(request: Request, scope: Scope) -> tuple[str, str, str]:
    tenant = _tenant(request, scope)
    name, key = request.path_params["state"], request.path_params["key"]
    check_place(name, key)
    act_of(request).about = f"{name}/{key}"
    return tenant, name, key


def _states(request: Request) -> States:
    engine = parts_of(request).engine
    return States(engine.services, Signals(engine))


def _view(state: State, value: Any) -> StateView:
    shown = _listed(state)
    return StateView(shown.name, shown.key, value, shown.version, shown.held_by, shown.waiting)


def _listed(state: State) -> ListedState:
    holder = None if state.holder is None else state.holder.run
    return ListedState(state.name, state.key, state.version, holder, len(state.line))

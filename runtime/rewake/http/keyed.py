"""The endpoints of keyed states: read one, write it while nobody holds it, remove it."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.authoring.keyed import check_place
from rewake.engine.keyed import States
from rewake.engine.signals import Signals
from rewake.errors import InsufficientScope, RunNotFound
from rewake.http.admission import act_of, principal_of
from rewake.http.bodies import read_object, shaped
from rewake.http.parts import parts_of, reply
from rewake.keyed import State


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


async def get(request: Request) -> Response:
    """`GET /v1/state/{state}/{key}`: the value of a state, and who has it."""
    name, key = _place(request, Scope.READ)
    found = await _states(request).read(name, key)
    if found is None:
        raise RunNotFound(f"there is no state {name}/{key}")
    return reply(_view(found[1], found[0]))


async def write(request: Request) -> Response:
    """`PUT /v1/state/{state}/{key}`: write a state while nobody holds it."""
    name, key = _place(request, Scope.START)
    body = shaped(await read_object(request, parts_of(request).limit), StateBody)
    made = await _states(request).write(name, key, body.value, body.version)
    return reply(_view(made, body.value))


async def remove(request: Request) -> Response:
    """`DELETE /v1/state/{state}/{key}`: remove a state while nobody holds it."""
    name, key = _place(request, Scope.START)
    if not await _states(request).remove(name, key):
        raise RunNotFound(f"there is no state {name}/{key}")
    return Response(status_code=204)


def _place(request: Request, scope: Scope) -> tuple[str, str]:
    if principal_of(request).workflows:  # it is of no workflow, and all of them may have it
        told = "this token is limited to some workflows, and a state is for all of them"
        raise InsufficientScope(told, scope=scope)
    name, key = request.path_params["state"], request.path_params["key"]
    check_place(name, key)
    act_of(request).about = f"{name}/{key}"
    return name, key


def _states(request: Request) -> States:
    engine = parts_of(request).engine
    return States(engine.services, Signals(engine))


def _view(state: State, value: Any) -> StateView:
    holder = None if state.holder is None else state.holder.run
    return StateView(state.name, state.key, value, state.version, holder, len(state.line))

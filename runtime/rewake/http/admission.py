"""What a request is let do, once the gate has let it in, and what the audit log says of it.

Each endpoint stands behind the scope that `http/needs.py` names for its route. For a token that is
limited to some workflows, whatever belongs to another one does not exist: the answer is that of a
run that there is not.
"""

from __future__ import annotations

import functools

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Principal, Scope, check_tenant
from rewake.errors import InsufficientScope, InvalidInput, RunNotFound, StuckError, Unauthentic
from rewake.http.auditor import client_of
from rewake.http.bodies import Endpoint
from rewake.http.gate import SIGNED, path_of
from rewake.http.needs import Need
from rewake.http.parts import parts_of
from rewake.http.principals import principal_in
from rewake.http.problems import problem_of
from rewake.records import Header
from rewake.signing.links import Link
from rewake.spelled import key_meant


class Act(msgspec.Struct):
    """What the audit log will say of a request. `skip`: nothing was done. `told`: it says so.
    `within`: it does if what was to make the run has made it.

    `who`: who did it, as an endpoint that checks by itself has found out. `why`: for what it was
    refused, for the server's log alone.
    """

    need: Need
    who: str = ""
    run: str = ""
    about: str = ""
    skip: bool = False
    told: bool = False
    within: bool = False
    why: str = ""


def principal_of(request: Request) -> Principal:
    """Who asks. Raises `Unauthentic` if nobody does: only behind an open path."""
    found = principal_in(request.scope)
    if found is None:
        raise Unauthentic("a bearer token is needed")
    return found


def tenant_of(request: Request) -> str:
    """Of whose runs a request is: as it says, or as its token does. Raises `InvalidInput`."""
    named, bound = request.query_params.get("tenant", ""), principal_of(request).tenant
    check_tenant(named)
    if bound and named not in ("", bound):
        raise InvalidInput(f"this token is for runs of {bound!r} alone", field="tenant")
    return named or bound


def act_of(request: Request) -> Act:
    """What the audit log will say of a request."""
    act: Act = request.state.rewake_act
    return act


def note_holder(request: Request, link: Link) -> None:
    """Note who asks by a link, and about what, for the audit log."""
    act = act_of(request)
    act.who = f"link:{link.holder}" if link.holder else "link"
    act.run, act.about = link.run, link.key


def admitted(need: Need, endpoint: Endpoint) -> Endpoint:
    """The endpoint behind what it needs, with an entry in the audit log."""

    @functools.wraps(endpoint)
    async def checked(request: Request) -> Response:
        given = request.path_params
        about = given.get("key", given.get("name", ""))
        run = given.get("run", "")
        act = Act(need, run=run, about=key_meant(about) if run else about)
        request.state.rewake_act = act
        try:
            await _admit(need, request)
            response = await endpoint(request)
        except Exception as error:
            await _tell(request, _status_of(error))
            raise
        await _tell(request, response.status_code)
        return response

    return checked


async def tell_done(request: Request, header: Header) -> None:
    """Write at once that something was done to a run, where the answer may take its time."""
    act_of(request).run = header.run
    await _tell(request, 202)


async def tell_made(request: Request, header: Header) -> None:
    """The same of a run that is being made, in the write that makes it if the store joins writes.

    Whether that came to pass is known later: `tell_done` follows, and tells it if this did not.
    """
    within = parts_of(request).engine.services.store.joins
    act_of(request).run = header.run
    await _tell(request, 202, within=within)


async def _admit(need: Need, request: Request) -> None:
    """Raises `InsufficientScope`, `RunNotFound`, `Unauthentic`."""
    if need.free:
        return
    if principal_in(request.scope) is None and path_of(request.scope) in SIGNED:
        return
    principal = principal_of(request)
    principal.require(need.scope)
    if principal.tenant and not need.of_tenants:
        raise InsufficientScope("a token of a tenant is for its runs alone", scope=Scope.ADMIN)
    name, run = request.path_params.get("name"), request.path_params.get("run")
    if principal.workflows and name is not None:
        known = parts_of(request).engine.app.workflows
        if name not in known or not principal.sees(name):
            raise RunNotFound(f"there is no workflow {name!r}")
    if run is not None:
        await check_run(request, run)


async def check_run(request: Request, run: str) -> None:
    """Raise `RunNotFound` if who asks may not know of this run.

    For an endpoint that finds the run elsewhere than in its path.
    """
    principal = principal_of(request)
    if not principal.is_limited:
        return
    try:
        header = await parts_of(request).engine.get(run)
    except StuckError:  # it cannot be read, so nobody knows whose it is
        header = None
    if header is None or not principal.owns(header.workflow, header.tenant):
        raise RunNotFound(f"there is no run {run!r}")


async def _tell(request: Request, status: int, *, within: bool = False) -> None:
    act, principal = act_of(request), principal_in(request.scope)
    need = act.need
    refused = status in (401, 403)
    told = act.told or (act.within and status < 400)
    if told or not (refused or (need.acts and not act.skip)):
        return
    act.told, act.within = not within, within
    await parts_of(request).auditor.tell(
        need.scope,
        need.action,
        status,
        who=act.who if principal is None else principal.who,
        client=client_of(request.scope),
        run=act.run,
        about=act.about,
        why=act.why,
        within=within,
    )


def _status_of(error: Exception) -> int:
    return error.status_code if isinstance(error, HTTPException) else problem_of(error).status_code

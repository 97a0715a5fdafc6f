"""The endpoints of `rewake doctor`: what arrives of a request, and how the server is set up."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rewake.doctor.checks import (
    checks_of_database,
    checks_of_machine,
    checks_of_surroundings,
    hooks_found,
)
from rewake.doctor.findings import Finding, carried_out
from rewake.doctor.front import Door, Seen
from rewake.http.bodies import read_object, shaped
from rewake.http.gate import path_of
from rewake.http.internal import Nothing, signed_body
from rewake.http.parts import Parts, parts_of, reply
from rewake.signing.messages import HEADER


async def echo(request: Request) -> Response:
    """`POST /v1/echo`: what the app sees of a request that is signed with its secret."""
    parts = parts_of(request)
    await signed_body(request)
    names = sorted({name.lower() for name in request.headers})
    path, host = path_of(request.scope), request.headers.get("host", "")
    seen = Seen(request.scope["scheme"], host, path, names, parts.clock.now())
    return reply(seen.proved(parts.keys.secret, request.headers[HEADER]))


async def examine(request: Request) -> Response:
    """`POST /v1/doctor`: what all checks find that can be made from here."""
    parts = parts_of(request)
    shaped(await read_object(request, parts.limit), Nothing)
    return reply({"findings": await _findings(parts), "now": parts.clock.now()})


async def _findings(parts: Parts) -> list[Finding]:
    services, settings = parts.engine.services, parts.people.settings
    header = "" if settings.proxy is None else settings.proxy.header
    door = Door(services.settings.url, services.secret, parts.keys.one, header)
    checks = {
        **checks_of_machine(services.secret, services.store.trial.folder),
        **checks_of_database(parts.engine),
        **checks_of_surroundings(door, settings, parts.clock),
    }
    return [*await carried_out(checks), *hooks_found(parts.hooks)]

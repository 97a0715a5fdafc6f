"""The endpoint of events: publish one."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.engine.events import Events
from rewake.errors import InsufficientScope
from rewake.http.admission import act_of, principal_of
from rewake.http.bodies import read_object, shaped
from rewake.http.parts import parts_of, reply
from rewake.views.moments import moment


class EventBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an event: its data, and the id by which it is published once."""

    data: Any = None
    id: str | None = None


class EventView(msgspec.Struct, frozen=True):
    """An event that is kept."""

    name: str
    id: str
    published: str


async def publish(request: Request) -> Response:
    """`POST /v1/events/{event}`: publish an event; of one id, once."""
    parts, principal = parts_of(request), principal_of(request)
    if principal.workflows:  # an event is told to all runs, and may start some of any workflow
        told = "this token is limited to some workflows, and an event is for all of them"
        raise InsufficientScope(told, scope=Scope.START)
    body = shaped(await read_object(request, parts.limit), EventBody)
    name = act_of(request).about = request.path_params["event"]
    event, new = await Events(parts.engine).publish(name, body.data, id=body.id, by=principal.who)
    replayed = {} if new else {"Idempotency-Replayed": "true"}
    return reply(EventView(event.name, event.id, moment(event.at)), 202, replayed)

"""The endpoints of events: publish one, and look at those of a name."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Principal, Scope
from rewake.engine.outside.events import Events
from rewake.errors import InsufficientScope
from rewake.http.admission import act_of, principal_of
from rewake.http.answers import EventsPage
from rewake.http.bodies import query_limit, read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.stores.keys import MENTIONS
from rewake.views.events import EventView, event_view
from rewake.views.moments import moment


class EventBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an event: its data, and the id by which it is published once."""

    data: Any = None
    id: str | None = None


async def publish(request: Request) -> Response:
    """`POST /v1/events/{event}`: publish an event; of one id, once."""
    parts, principal = parts_of(request), principal_of(request)
    _check_for_all(principal, Scope.START)
    body = shaped(await read_object(request, parts.limit), EventBody)
    name = act_of(request).about = request.path_params["event"]
    event, new = await Events(parts.engine).publish(name, body.data, id=body.id, by=principal.who)
    replayed = {} if new else {"Idempotency-Replayed": "true"}
    return reply(EventView(event.name, event.id, moment(event.at)), 202, replayed)


@takes_query("cursor", "limit")
async def listing(request: Request) -> Response:
    """`GET /v1/events/{event}`: the events of a name, the newest first."""
    parts, name = parts_of(request), request.path_params["event"]
    _check_for_all(principal_of(request), Scope.READ)
    limit = query_limit(request)
    cursor = place_in(request, "cursor", str, lambda place: place.startswith(MENTIONS))
    found, after = await Events(parts.engine).newest(name, limit=limit, cursor=cursor)
    shown = [event_view(each, parts.keys.secret) for each in found]
    return reply(EventsPage(shown, next_cursor(after)))


def _check_for_all(principal: Principal, scope: Scope) -> None:
    """Raise `InsufficientScope` for a token of some workflows: an event is told to all runs."""
    if principal.workflows:
        told = "this token is limited to some workflows, and an event is for all of them"
        raise InsufficientScope(told, scope=scope)

"""The endpoint of limits."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.errors import InsufficientScope
from rewake.http.admission import principal_of
from rewake.http.bodies import query_limit, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.stores.keys import is_limit_place
from rewake.views.limits import SHOWN, limit_view


@takes_query("cursor", "limit")
async def listing(request: Request) -> Response:
    """`GET /v1/limits`: limits that something holds, or held lately, and who waits for them."""
    if principal_of(request).is_limited:  # they are shared with what it may not know of
        raise InsufficientScope("a token of some runs alone does not see limits", scope=Scope.ADMIN)
    store, limit = parts_of(request).engine.services.store, query_limit(request)
    place = place_in(request, "cursor", str, is_limit_place)
    found, cursor = await store.limits(limit=limit, cursor=place)
    lines = [await store.line(each.id, SHOWN + 1) if each.waits else [] for each in found]
    shown = [limit_view(*each) for each in zip(found, lines, strict=True)]
    return reply({"limits": shown, "cursor": next_cursor(cursor)})

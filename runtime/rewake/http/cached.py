"""The endpoints of what is cached of tasks."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.errors import InsufficientScope
from rewake.http.admission import act_of, principal_of
from rewake.http.answers import CachedPage, ClearedPage
from rewake.http.bodies import query_limit, read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.stores.keys import is_limit_place
from rewake.views.limits import cached_view

AT_ONCE = 200
"""So many results are looked at by one request to clear them."""


class Clear(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to clear what is cached: of one task, by default of all."""

    task: str | None = None


@takes_query("cursor", "limit")
async def listing(request: Request) -> Response:
    """`GET /v1/cache`: results of tasks that are cached, in no order, and who makes some now."""
    _check(request)
    store, limit = parts_of(request).engine.services.store, query_limit(request)
    place = place_in(request, "cursor", str, is_limit_place)
    found, cursor = await store.cached.page(limit=limit, cursor=place)
    shown = [cached_view(each) for each in found]
    return reply(CachedPage(results=shown, cursor=next_cursor(cursor)))


@takes_query("cursor")
async def clear(request: Request) -> Response:
    """`POST /v1/cache/clear`: forget results, a page at a time. What is made now is not kept."""
    _check(request)
    parts = parts_of(request)
    place = place_in(request, "cursor", str, is_limit_place)
    asked = shaped(await read_object(request, parts.limit), Clear)
    act_of(request).about = asked.task or ""
    services = parts.engine.services
    found, cursor = await services.store.cached.page(limit=AT_ONCE, cursor=place)
    cleared = 0
    for each in found:
        if asked.task in (None, each.name):
            cleared += await services.limits.clear(each.id)
    return reply(ClearedPage(cleared=cleared, cursor=next_cursor(cursor)))


def _check(request: Request) -> None:
    if principal_of(request).is_limited:  # it is of runs that it may not know of
        raise InsufficientScope("a token of some runs alone sees no cache", scope=Scope.ADMIN)

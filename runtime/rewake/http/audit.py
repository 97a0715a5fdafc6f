"""The endpoint that shows the audit log."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rewake.errors import InvalidInput
from rewake.http.bodies import query_limit, query_moment, takes_query
from rewake.http.parts import parts_of, reply
from rewake.stores.audit import Wanted
from rewake.views.access import audited_view


@takes_query("cursor", "limit", "run", "since", "who")
async def listing(request: Request) -> Response:
    """`GET /v1/audit`: what was done and refused, newest first."""
    query = request.query_params
    wanted = Wanted(query.get("who"), query.get("run"), query_moment(request, "since"))
    limit = query_limit(request)
    audit = parts_of(request).engine.services.store.audit
    try:
        page = await audit.page(wanted, limit=limit, cursor=query.get("cursor"))
    except ValueError as error:
        raise InvalidInput(str(error), field="cursor") from None
    shown = [audited_view(entry) for entry in page.entries]
    return reply({"entries": shown, "cursor": page.cursor})

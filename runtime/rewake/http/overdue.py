"""The endpoint of runs that are late."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.engine.alerts.overdue import Late, overdue
from rewake.errors import InsufficientScope
from rewake.http.admission import principal_of
from rewake.http.answers import LateView, OverduePage
from rewake.http.bodies import query_limit, takes_query
from rewake.http.parts import parts_of, reply
from rewake.views.moments import moment
from rewake.views.runs import ReasonView


@takes_query("limit")
async def listing(request: Request) -> Response:
    """`GET /v1/overdue`: runs that should have moved and did not, the longest first of each tag."""
    if principal_of(request).is_limited:  # what hinders them may be of others
        raise InsufficientScope("a token of some runs alone sees no overdue", scope=Scope.ADMIN)
    services, most = parts_of(request).engine.services, query_limit(request)
    found, more = await overdue(services, most)
    return reply(OverduePage([_view(each) for each in found], more))


def _view(late: Late) -> LateView:
    header, reason = late.header, late.reason
    return LateView(
        run=header.run,
        workflow=header.workflow,
        state=header.state.said,
        since=moment(late.since),
        operation=late.key or None,
        tag=late.tag or None,
        reason=ReasonView(reason.code, reason.fix, reason.command),
    )

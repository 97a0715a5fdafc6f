"""The endpoints of approvals: those of all runs, a fresh link to one, a decision."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.approval import LONGEST_APPROVER, Action, Approval, Decision
from rewake.engine.approvals import Approvals, approvals_of
from rewake.http.admission import check_run, principal_of
from rewake.http.bodies import query_whole, read_object, shaped, takes_query
from rewake.http.parts import parts_of, reply
from rewake.states import LIVE
from rewake.views.approvals import listed_approval_view
from rewake.views.moments import moment
from rewake.views.values import Values

LARGEST_PAGE = 200
"""The most runs of which one page has the approvals."""


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a decision. `value` is the filled-in form."""

    approved: bool
    value: Any = None
    approver: str | None = None
    comment: str | None = None


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """For whom, and for what, a link is wanted."""

    run: str
    key: str
    approver: Annotated[str, msgspec.Meta(max_length=LONGEST_APPROVER)] = ""
    action: Action | None = None


@takes_query("approver", "cursor", "limit", "workflow")
async def listing(request: Request) -> Response:
    """`GET /v1/approvals`: what runs wait for; a page is of so many runs that have not ended."""
    parts, query = parts_of(request), request.query_params
    headers, cursor = await parts.engine.list(
        limit=query_whole(request, "limit", 1, LARGEST_PAGE, 50),
        cursor=query.get("cursor"),
        workflow=query.get("workflow"),
        workflows=principal_of(request).workflows,
        states=LIVE,
    )
    found = []
    for header in headers:
        values = Values(parts.keys.secret, header.run)
        for asked in await approvals_of(parts.engine, header):
            view = listed_approval_view(asked, header.workflow, values)
            if query.get("approver") in (None, *view.approvers):
                found.append(view)
    return reply({"approvals": found, "cursor": cursor})


async def link(request: Request) -> Response:
    """`POST /v1/links`: a fresh link to an open approval."""
    parts = parts_of(request)
    wanted = shaped(await read_object(request, parts.limit), LinkBody)
    await check_run(request, wanted.run)
    about = (wanted.run, wanted.key, wanted.approver, wanted.action or "")
    url, expires = await Approvals(parts.engine).link(*about)
    return reply({"url": url, "expires": moment(expires)})


async def decide(request: Request) -> Response:
    """`POST /v1/runs/{run}/approvals/{key}`: approve or reject; the first decision stands."""
    parts, run, key = parts_of(request), request.path_params["run"], request.path_params["key"]
    answer = shaped(await read_object(request, parts.limit), DecisionBody)
    decision = Decision.APPROVED if answer.approved else Decision.REJECTED
    approvals = Approvals(parts.engine)
    approvers = await approvals.approvers(run, key) if parts.people.must_be_known else []
    approver = parts.people.decider(principal_of(request), approvers, answer.approver)
    approval = Approval(decision, answer.value, approver, answer.comment)
    await approvals.decide(run, key, approval)
    return reply({"run": run, "key": key, "decision": decision})

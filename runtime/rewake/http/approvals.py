"""The endpoints of approvals: those of all runs, a fresh link to one, a decision."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Scope
from rewake.authoring.approval import Approval, Decision
from rewake.authoring.ballots import LONGEST_APPROVER, Action, Delegation, same_person
from rewake.engine.outside.approvals import Approvals, Record
from rewake.engine.turns.matters import ACTIONS
from rewake.errors import StuckError
from rewake.http.admission import check_run, principal_of, tenant_of
from rewake.http.ballots import (
    DelegationBody,
    counted,
    handed_on,
    is_delegation,
    voter,
)
from rewake.http.bodies import query_limit, query_moment, read_object, shaped, takes_query
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import operation_in, parts_of, reply
from rewake.records import LATEST, Millis
from rewake.spelled import key_meant
from rewake.states import OPEN
from rewake.stores.keys import is_view_place
from rewake.views.approvals import listed_approval_view
from rewake.views.ballots import inbox_of
from rewake.views.moments import moment
from rewake.views.values import Values


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


@takes_query("approver", "asked_before", "cursor", "group", "limit", "tenant", "workflow")
async def listing(request: Request) -> Response:
    """`GET /v1/approvals`: what runs wait for; a page is of so many runs that have not ended."""
    parts, query = parts_of(request), request.query_params
    before = query_moment(request, "asked_before") or LATEST
    headers, sort = await parts.engine.list(
        limit=query_limit(request),
        cursor=place_in(request, "cursor", str, is_view_place),
        workflow=query.get("workflow"),
        workflows=principal_of(request).workflows,
        tenant=tenant_of(request),
        states=OPEN,
    )
    found, unread = [], []
    for header in headers:
        values = Values(parts.keys.secret, header.run, sealed=header.digest_key != "")
        try:
            records = await Approvals(parts.engine).open_in(header)
        except StuckError:  # it hides what it waits for, and not what the others do
            unread.append(header.run)
            continue
        for each in records:
            if _is_wanted(each, query.get("approver"), query.get("group"), before):
                asked, at = each.matter.asked, each.asked_at
                view = listed_approval_view(asked, at, header.workflow, values)
                found.append(inbox_of(view, each.ballot))
    return reply({"approvals": found, "cursor": next_cursor(sort), "unread": unread})


def _is_wanted(found: Record, approver: str | None, group: str | None, before: Millis) -> bool:
    """Whether an open approval is in this inbox. Who has voted, or handed it on, is done."""
    ballot = found.ballot
    return (
        approver in (None, *ballot.waits_for)
        and (group is None or group in ballot.terms.groups)
        and found.asked_at < before
    )


async def link(request: Request) -> Response:
    """`POST /v1/links`: a fresh link to an open approval."""
    parts = parts_of(request)
    wanted = shaped(await read_object(request, parts.limit), LinkBody)
    key = key_meant(wanted.key)
    await check_run(request, wanted.run)
    approvals, principal = Approvals(parts.engine), principal_of(request)
    ballot = await approvals.ballot(wanted.run, key)
    if ballot.terms.is_personal and not same_person(wanted.approver, principal.who):
        principal.require(Scope.ADMIN)  # who has it decides as somebody else
    about = (wanted.run, key, wanted.approver, wanted.action or "")
    url, expires = await approvals.link(*about)
    return reply({"url": url, "expires": moment(expires)})


async def decide(request: Request) -> Response:
    """`POST /v1/runs/{run}/approvals/{key}`: vote, or hand a vote on; what decides stands."""
    parts, (run, key) = parts_of(request), operation_in(request)
    body, principal = await read_object(request, parts.limit), principal_of(request)
    approvals = Approvals(parts.engine)
    if is_delegation(body):
        wanted = shaped(body, DelegationBody)
        ballot = await approvals.ballot(run, key)
        who = voter(ballot, parts.people, principal, hands_on=True)
        said = Delegation(who or "", wanted.delegate, wanted.comment)
        about = (run, key, said.approver, said.delegate, said.comment)
        link = await approvals.delegate(*about, principal=principal.who)
        return reply(handed_on(run, key, said, link))
    answer = shaped(body, DecisionBody)
    decision = Decision.APPROVED if answer.approved else Decision.REJECTED
    ballot = await approvals.ballot(run, key)
    approver = voter(ballot, parts.people, principal, answer.approver)
    approval = Approval(decision, answer.value, approver, answer.comment)
    ballot = await approvals.decide(run, key, approval, principal=principal.who)
    return reply(counted(ballot, run, key, ACTIONS[decision], approver))

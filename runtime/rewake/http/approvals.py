"""The endpoint that decides on an approval."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.approval import Approval, Decision
from rewake.engine.approvals import Approvals
from rewake.http.admission import principal_of
from rewake.http.bodies import read_object, shaped
from rewake.http.parts import parts_of, reply


class DecisionBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a decision. `value` is the filled-in form."""

    approved: bool
    value: Any = None
    approver: str | None = None
    comment: str | None = None


async def decide(request: Request) -> Response:
    """`POST /v1/runs/{run}/approvals/{key}`: approve or reject; the first decision stands."""
    parts, run, key = parts_of(request), request.path_params["run"], request.path_params["key"]
    answer = shaped(await read_object(request, parts.limit), DecisionBody)
    decision = Decision.APPROVED if answer.approved else Decision.REJECTED
    approver = answer.approver or principal_of(request).person
    approval = Approval(decision, answer.value, approver, answer.comment)
    await Approvals(parts.engine).decide(run, key, approval)
    return reply({"run": run, "key": key, "decision": decision})

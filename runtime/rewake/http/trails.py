"""The endpoint of one approval: how it stands, and the trail of what happened to it."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.notifying import Notice
from rewake.engine.outside.approvals import Approvals, Record
from rewake.engine.outside.notices import notices_of
from rewake.http.auditor import plain_text
from rewake.http.parts import Parts, operation_in, parts_of, reply
from rewake.records import Millis
from rewake.views.approvals import listed_approval_view
from rewake.views.ballots import ApprovalRecord, held_in, seats_of, seen_view, standing_of, trail_of
from rewake.views.values import Values

LINES = "application/x-ndjson"


async def get(request: Request) -> Response:
    """`GET /v1/runs/{run}/approvals/{key}`: one approval, open or not; as NDJSON, its trail."""
    parts, (run, key) = parts_of(request), operation_in(request)
    found = await Approvals(parts.engine).find(run, key)
    store = parts.engine.services.store
    refusals = await store.audit.refusals(plain_text(run), plain_text(key))
    notices = await _notices(parts, found)
    trail = trail_of(found.asked_at, found.ballot, found.end, found.why, refusals, notices)
    if LINES in request.headers.get("accept", ""):
        lines = [msgspec.json.encode({"run": run, "key": key, **_plain(each)}) for each in trail]
        return Response(b"".join(line + b"\n" for line in lines), media_type=LINES)
    values = Values(parts.keys.secret, run)
    view = listed_approval_view(found.matter.asked, found.asked_at, found.workflow, values)
    return reply(
        ApprovalRecord(
            **msgspec.structs.asdict(view),
            **standing_of(found.ballot),
            **held_in(found.ballot, found.ballot.waits_for if found.end is None else []),
            state="open" if found.end is None else found.end[0],
            reject=found.ballot.terms.reject,
            personal=found.ballot.terms.is_personal,
            groups=found.ballot.terms.groups,
            votes=seats_of(found.ballot, found.matter.hidden),
            views=seen_view(await store.seen.of(run, key)),
            trail=trail,
        )
    )


async def _notices(parts: Parts, found: Record) -> list[tuple[Millis, Notice]]:
    """Who was told of it, if anybody was to be: it takes the whole history."""
    if "notify" not in found.matter.shown:
        return []
    services = parts.engine.services
    header = await services.store.header(found.matter.run)
    return await notices_of(services, header, found.matter.asked.key)


def _plain(entry: msgspec.Struct) -> dict[str, object]:
    plain: dict[str, object] = msgspec.to_builtins(entry)
    return plain

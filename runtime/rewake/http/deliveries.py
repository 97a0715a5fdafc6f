"""The endpoints of the deliveries that are kept: look at them, and send one again."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewake.access import Principal
from rewake.errors import InvalidInput, RunConflict, RunNotFound
from rewake.http.admission import act_of, principal_of
from rewake.http.bodies import query_choice, query_limit, query_moment, takes_query
from rewake.http.hooks import bounded_key, key_of, repeated, started
from rewake.http.keeping import Became
from rewake.http.parts import Parts, located, parts_of, reply
from rewake.http.verdicts import HookFailed, Seen, Verdict, failed, note, refused
from rewake.ledger import Received
from rewake.stores.deliveries import Kept
from rewake.values.redaction import REDACTED
from rewake.values.redaction import redacted as hidden_from
from rewake.views.deliveries import delivery_view, whole_delivery_view
from rewake.views.runs import links
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.hooks import Hook

log = logging.getLogger("rewake.hooks")

_VERDICTS = {each.value: each for each in Became}
_NOT_KEPT = (
    "its body was not kept, so that it cannot be sent again: it was too large, or not read, or its"
    " run was removed"
)


@takes_query("cursor", "hook", "limit", "since", "verdict", "workflow")
async def listing(request: Request) -> Response:
    """`GET /v1/deliveries`: what was sent to webhooks, newest first."""
    query, principal = request.query_params, principal_of(request)
    hook, workflow = query.get("hook"), query.get("workflow")
    verdict = query_choice(request, "verdict", _VERDICTS)

    def wanted(each: Received) -> bool:
        return (
            _sees(principal, each)
            and hook in (None, each.path)
            and workflow in (None, each.workflow)
            and verdict in (None, each.verdict)
        )

    deliveries = parts_of(request).engine.services.store.deliveries
    try:
        page = await deliveries.page(
            wanted,
            since=query_moment(request, "since"),
            limit=query_limit(request),
            cursor=query.get("cursor"),
        )
    except ValueError as error:
        raise InvalidInput(str(error), field="cursor") from None
    shown = [delivery_view(each) for each in page.deliveries]
    return reply({"deliveries": shown, "cursor": page.cursor})


async def show(request: Request) -> Response:
    """`GET /v1/deliveries/{id}`: one of them, with what was sent."""
    kept = await _find(request)
    parts = parts_of(request)
    body = await parts.engine.services.store.deliveries.body(kept)
    return reply(whole_delivery_view(kept, None if body is None else _shown(parts, kept, body)))


def _shown(parts: Parts, kept: Kept, body: bytes) -> bytes:
    """A body without what the workflow marks as secret; nothing of it, if that has no place.

    That is what it marks now, and what it did when this came.
    """
    found = parts.engine.app.workflows.get(kept.delivery.workflow)
    hidden = {*kept.delivery.hidden, *(() if found is None else found.inputs.hidden)}
    hook = parts.hooks.get(kept.delivery.path)
    if not hidden:
        return body
    try:
        if hook is not None and hook.webhook.arguments is None:
            return bytes(hidden_from(msgspec.Raw(body), hidden))
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    return REDACTED.encode()


async def replay(request: Request) -> Response:
    """`POST /v1/deliveries/{id}/replay`: let it start a run, as if it had been sent again now.

    Its signature was checked, or not, when it came; who sends it again answers for it.
    """
    parts, kept = parts_of(request), await _find(request)
    found = kept.delivery
    act_of(request).about = kept.id
    hook = parts.hooks.get(found.path)
    if hook is None:
        raise RunNotFound(f"no workflow has a webhook of the path {found.path!r} now")
    if not principal_of(request).sees(hook.workflow):
        raise _no_delivery(kept.id)
    body = await parts.engine.services.store.deliveries.body(kept)
    if body is None:
        raise RunConflict(f"delivery {kept.id}: {_NOT_KEPT}")
    if found.method != "POST":
        raise RunConflict(
            f"delivery {kept.id} was a question of the provider's, and starts nothing"
        )
    delivery = Delivery(
        found.path, body=body, headers=found.headers, query=found.query, received=found.at
    )
    seen = Seen(hook, ExitStack(), read=True, verified=True)
    try:
        verdict = await _again(parts, hook, delivery, seen, found, principal_of(request).who)
    except (InvalidInput, HTTPException) as error:
        await note(request, delivery, seen, refused(error), of=kept.id)
        raise
    except HookFailed as error:
        verdict = failed(error)
        log.error("delivery %s was sent again, and %s", kept.id, error, exc_info=error)
    await note(request, delivery, seen, verdict, of=kept.id)
    return _told(request, verdict)


async def _again(
    parts: Parts, hook: Hook, delivery: Delivery, seen: Seen, found: Received, by: str
) -> Verdict:
    """What becomes of a delivery that is sent again. Raises what it is refused with.

    One that started a run starts another, `ID#2`; one that did not starts that of its id.
    """
    if hook.scheme.challenge(delivery) is not None:
        return Verdict(Became.ANSWERED)
    try:
        named = await key_of(parts.keys.secret, hook, delivery)
    except LookupError as error:
        raise RunConflict(f"nothing names this delivery, for it lacks {error}") from error
    key = seen.key = found.key or named
    if key is None or not found.run:
        return await started(parts, hook, delivery, key, by)
    number = 2
    while True:
        anew = bounded_key(hook.webhook.path, f"{key}#{number}")
        if await repeated(parts, hook, anew) is None:
            verdict = await started(parts, hook, delivery, anew, by)
            if verdict.became is not Became.REPEATED:
                return verdict
        number += 1


def _told(request: Request, verdict: Verdict) -> Response:
    told: dict[str, Any] = {"verdict": verdict.became}
    if verdict.became is Became.FAILED:
        told["reason"] = verdict.reason
    if verdict.header is None:
        return reply(told)
    run = verdict.header.run
    act_of(request).run = run
    shown = links(run)
    place = {"Location": located(request, shown.self)}
    return reply({**told, "id": run, "links": shown}, 202, place)


async def _find(request: Request) -> Kept:
    """The delivery that the path names. Raises `RunNotFound`, also for who may not know of it."""
    named = request.path_params["id"]
    found = await parts_of(request).engine.services.store.deliveries.get(named)
    if found is None or not _sees(principal_of(request), found):
        raise _no_delivery(named)
    return Kept(named, found)


def _sees(principal: Principal, found: Received) -> bool:
    """Whether who asks may know of it. What came to no hook is for who may know of all."""
    return not principal.workflows or (bool(found.workflow) and principal.sees(found.workflow))


def _no_delivery(id: str) -> RunNotFound:
    return RunNotFound(f"there is no delivery {id!r}")

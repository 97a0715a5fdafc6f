"""The endpoint of webhooks: what is sent there starts runs.

A delivery goes through it in one order, whatever its scheme: its size, its signature over the raw
bytes, then a handshake, and only then what it says. Of what is not verified nothing is parsed, but
by a function of the app that must find out whose secret it is.

Everything that was sent comes to one `Verdict`, which has what the sender is told and what an
operator may know, and `_note` sees each of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import logging
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.workflow import Workflow
from rewake.engine.starting import LONGEST_KEY
from rewake.errors import InvalidInput, StuckError, Unauthentic
from rewake.http.admission import act_of, tell_done
from rewake.http.bodies import query_number, read_body
from rewake.http.parts import Parts, parts_of, reply
from rewake.http.problems import plain, problem_of
from rewake.records import Failure, Header, Outcome
from rewake.signing.secret import Secret
from rewake.values.text import storable, stored_size
from rewake.views.runs import Links, ResultView, error_view, links, result_view
from rewake.views.values import Values
from rewake.webhooks.bodies import is_form, is_json
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.hooks import Hook
from rewake.webhooks.trigger import LONGEST_WAIT

log = logging.getLogger("rewake.hooks")

BODY_TIME = 30.0
"""Seconds in which a body must have come: whoever sends it has proved nothing yet."""

_MARK = "delivery without an id"
_PREFER_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.ASCII)
_LONGEST_REASON = 300
_UNVERIFIED = "this delivery could not be verified"


class Became(StrEnum):
    """What became of a delivery."""

    STARTED = "started"
    REPEATED = "repeated"
    """It had been delivered before, and started a run then."""
    IGNORED = "ignored"
    """The app said that it is not for it."""
    ANSWERED = "answered"
    """A handshake."""
    REFUSED = "refused"
    FAILED = "failed"


class Verdict(NamedTuple):
    """What became of a delivery. `reason`: why it was refused, for operators only."""

    became: Became
    response: Response | None = None
    header: Header | None = None
    reason: str = ""


class Accepted(msgspec.Struct, frozen=True):
    """The answer to a delivery that started a run, now or when it was first delivered."""

    id: str
    links: Links


async def deliver(request: Request) -> Response:
    """`POST /hooks/{path}`: a delivery; and `GET`, where a provider asks for the hook by it."""
    parts, path = parts_of(request), request.path_params["path"]
    delivery = Delivery(
        path,
        method=request.method,
        headers=request.headers.items(),
        query=request.query_params.multi_items(),
        received=parts.clock.now(),
    )
    try:
        verdict = await _judged(parts, request, delivery)
    except (Unauthentic, InvalidInput, HTTPException) as error:
        verdict = _refused(error)
    except Exception as error:
        _note(delivery, Verdict(Became.FAILED, reason=type(error).__name__))
        raise
    _note(delivery, verdict)
    act = act_of(request)
    act.skip = verdict.became is not Became.STARTED
    if verdict.became is not Became.REFUSED:
        act.who = f"hook:{path}"
    if verdict.response is not None:
        return verdict.response
    assert verdict.header is not None
    if verdict.became is Became.STARTED:
        await tell_done(request, verdict.header)
    return await _answer(parts, request, delivery, verdict.header, verdict.became)


async def _judged(parts: Parts, request: Request, delivery: Delivery) -> Verdict:
    """What becomes of a delivery. Raises what it is refused with."""
    hook = parts.hooks.get(delivery.path)
    if hook is None:
        raise HTTPException(404, "no workflow has a webhook of this path")
    if delivery.method not in hook.methods:
        allowed = ", ".join(hook.methods)
        raise HTTPException(405, f"a delivery is sent by {allowed}", {"Allow": allowed})
    if hook.shut:
        response = plain(503, "this webhook is not set up yet", {"Retry-After": "60"})
        return Verdict(Became.REFUSED, response, reason=hook.shut)
    delivery.body = await _body(request, parts)
    await hook.verify(delivery, parts.clock.now())
    answer = hook.scheme.challenge(delivery)
    if answer is not None:
        return Verdict(Became.ANSWERED, _text(answer.text, answer.media_type))
    delivery.id = hook.scheme.id_of(delivery) or _key_of_sender(hook, delivery)
    _wait(request, hook)  # refused before anything is started
    key = await _key(parts.keys.secret, hook, delivery)
    try:
        verdict = await _started(parts, hook, delivery, key)
    except (InvalidInput, HTTPException):
        known = await _repeated(parts, hook, key)
        if known is None:
            raise
        return known
    if verdict.became is Became.IGNORED:
        return await _repeated(parts, hook, key) or verdict
    return verdict


async def _body(request: Request, parts: Parts) -> bytes:
    try:
        async with asyncio.timeout(BODY_TIME):
            return await read_body(request, parts.limit)
    except TimeoutError:
        told = f"the body did not come within {BODY_TIME:g} seconds"
        raise HTTPException(408, told, {"Connection": "close"}) from None


# --- what it starts -------------------------------------------------------------------------------


async def _started(parts: Parts, hook: Hook, delivery: Delivery, key: str | None) -> Verdict:
    """Start its run, unless a delivery of this key has started one. Raises what it is refused with.

    The first stands, so that what a later one says is not compared.
    """
    workflow = parts.engine.app.workflow(hook.workflow)
    arguments = await _arguments(hook, workflow, delivery)
    if arguments is None:
        return Verdict(Became.IGNORED, Response(status_code=204))
    header, new = await parts.engine.start(
        hook.workflow,
        arguments,
        idempotency_key=key,
        strict=hook.webhook.strict,
        compare=False,
        by=f"hook:{delivery.path}",
    )
    return Verdict(Became.STARTED if new else Became.REPEATED, header=header)


async def _repeated(parts: Parts, hook: Hook, key: str | None) -> Verdict | None:
    """The run that a delivery of this key has started, although this one could not; or None."""
    found = await parts.engine.of_key(key, hook.workflow, 1) if key is not None else ()
    return Verdict(Became.REPEATED, header=found[0]) if found else None


async def _arguments(
    hook: Hook, workflow: Workflow[Any, Any], delivery: Delivery
) -> Mapping[str, Any] | None:
    """The arguments of its run; None: it is not for us. Raises `InvalidInput`, a 400 or 415."""
    if is_json(delivery.content_type) and delivery.body:
        _readable(delivery)
    make = hook.webhook.arguments
    if make is not None:
        made = await _called(make, delivery)
        if not (made is None or isinstance(made, Mapping)):
            told = f"arguments= of the webhook {delivery.path} returned {type(made).__name__}"
            raise TypeError(f"{told}, and not a dict or None")
        return made
    found = _fields(workflow, delivery)
    return found if hook.webhook.strict else workflow.inputs.known(found)


def _readable(delivery: Delivery) -> None:
    try:
        _ = delivery.json
    except InvalidInput as error:
        raise HTTPException(400, str(error)) from None


def _fields(workflow: Workflow[Any, Any], delivery: Delivery) -> dict[str, Any]:
    """The fields of the body."""
    if is_form(delivery.content_type):
        form = delivery.form
        files = {name: bytes(file) for name, file in delivery.files.items()}
        return workflow.inputs.of_texts({name: form.all(name) for name in form}) | files
    if not delivery.body:
        return {}
    if not is_json(delivery.content_type):
        raise HTTPException(415, "send JSON or a form, and say so in Content-Type")
    if not isinstance(delivery.json, dict):
        raise InvalidInput("the body must be a JSON object, whose fields are the arguments")
    return delivery.json


def _key_of_sender(hook: Hook, delivery: Delivery) -> str | None:
    """The header by which a sender names a delivery, if nothing that is signed does.

    Who has overheard a delivery could send it again under another.
    """
    if hook.scheme.mark_of(delivery) is not None:
        return None
    return delivery.headers.get("idempotency-key") or None


async def _key(secret: Secret, hook: Hook, delivery: Delivery) -> str | None:
    """The idempotency key of its run: the first delivery of an id stands for all of them."""
    named = delivery.id or _mark(secret, hook, delivery)
    if hook.webhook.key is not None:
        named = await _called(hook.webhook.key, delivery)
        if not (named is None or isinstance(named, str)):
            told = f"key= of the webhook {delivery.path} returned {type(named).__name__}"
            raise TypeError(f"{told}, and not a text or None")
    if not named:
        return None
    key = f"hook:{delivery.path}:{storable(named)}"
    if stored_size(key) > LONGEST_KEY:  # providers name as they like
        key = f"hook:{delivery.path}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return key


def _mark(secret: Secret, hook: Hook, delivery: Delivery) -> str | None:
    """What names a delivery that has no id: a digest of what was signed."""
    named = hook.scheme.mark_of(delivery)
    if named is None or secret.codec is None:
        return named
    # Else who reads the store could try what was in the body.
    return f"hmac:{secret.sign(_MARK, named.encode()).hex()}"


async def _called(function: Any, delivery: Delivery) -> Any:
    made = function(delivery)
    return await made if inspect.isawaitable(made) else made


# --- what the sender is told ----------------------------------------------------------------------


async def _answer(
    parts: Parts, request: Request, delivery: Delivery, header: Header, became: Became
) -> Response:
    """The run's id and links; where the sender waits and the run ends, its result."""
    run, outcome = header.run, None
    repeated = {"Idempotency-Replayed": "true"} if became is Became.REPEATED else {}
    wait = _wait(request, parts.hooks[delivery.path])
    if wait:
        try:
            outcome = await parts.outcome(run, wait)
        except StuckError:  # it was started, and will go on
            outcome = None
    if outcome is not None:
        return reply(_result(outcome, parts, run), headers=repeated)
    shown = links(run)
    return reply(Accepted(run, shown), 202, {"Location": shown.self, **repeated})


def _result(outcome: Outcome, parts: Parts, run: str) -> ResultView:
    """The result as who may read the run sees it; why it failed is not for a sender."""
    view = result_view(outcome, Values(parts.keys.secret, run))
    if view.error is msgspec.UNSET:
        return view
    told = Failure(view.state, f"the run did not succeed; {links(run).result} says why")
    return msgspec.structs.replace(view, error=error_view(told))


def _wait(request: Request, hook: Hook) -> float:
    """How many seconds the sender waits for the result. Raises `InvalidInput`."""
    asked = query_number(request, "wait", 0, LONGEST_WAIT)
    if asked is not None:
        return asked
    preferred = _PREFER_WAIT.search(request.headers.get("prefer", ""))
    return min(float(preferred[1]), LONGEST_WAIT) if preferred else hook.webhook.wait


def _text(text: str, media_type: str) -> Response:
    # What was asked is said again: it must not become a page.
    kept = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(text, headers=kept, media_type=media_type)


def _refused(error: Unauthentic | InvalidInput | HTTPException) -> Verdict:
    if isinstance(error, Unauthentic):
        # One answer to all: one who forges would learn from the difference.
        return Verdict(Became.REFUSED, problem_of(Unauthentic(_UNVERIFIED)), reason=str(error))
    if isinstance(error, InvalidInput):
        return Verdict(Became.REFUSED, problem_of(error), reason=str(error))
    response = plain(error.status_code, error.detail, error.headers)
    return Verdict(Became.REFUSED, response, reason=error.detail)


# --- what operators are told ----------------------------------------------------------------------


def _note(delivery: Delivery, verdict: Verdict) -> None:
    """Say what became of a delivery. This is the one place that sees each."""
    path, run = _one_line(delivery.path), verdict.header.run if verdict.header else ""
    if verdict.became in (Became.REFUSED, Became.FAILED):
        reason = _one_line(verdict.reason)
        log.warning("a delivery to /hooks/%s was %s: %s", path, _SAID[verdict.became], reason)
    else:
        log.info("a delivery to /hooks/%s: %s %s", path, verdict.became, run)


_SAID = {Became.REFUSED: "refused", Became.FAILED: "not taken"}


def _one_line(text: str) -> str:
    """A text of a stranger, as a log can hold it."""
    shown = "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)
    return storable(shown if len(shown) <= _LONGEST_REASON else f"{shown[:_LONGEST_REASON]}…")

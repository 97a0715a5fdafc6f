"""The endpoint of webhooks: what is sent there starts runs.

A delivery goes through it in one order, whatever its scheme: its size, its signature over the raw
bytes, then a handshake, and only then what it says. Of what is not verified nothing is parsed, but
by a function of the app that must find out whose secret it is.

Everything that was sent comes to one `Verdict` (`rewake.http.verdicts`).
"""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
import traceback
from collections.abc import Awaitable, Mapping
from contextlib import ExitStack
from pathlib import PurePath
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewake.authoring.workflow import Workflow
from rewake.engine.starts.starting import LONGEST_KEY
from rewake.errors import (
    InvalidInput,
    Overloaded,
    RewakeError,
    RunRemoved,
    StuckError,
    Unauthentic,
)
from rewake.http.admission import act_of, tell_done
from rewake.http.bodies import is_coded, not_coded, query_number, read_body
from rewake.http.keeping import Became
from rewake.http.parts import Parts, located, parts_of, reply
from rewake.http.problems import plain
from rewake.http.responses import ended, response_to
from rewake.http.verdicts import HookFailed, Seen, Verdict, failed, note, refused
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.values.text import storable, stored_size
from rewake.views.runs import Links, links
from rewake.webhooks.bodies import is_form, is_json
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.hooks import Hook
from rewake.webhooks.schemes import Anyone
from rewake.webhooks.trigger import LONGEST_WAIT

_MARK = "delivery without an id"
_PREFER_WAIT = re.compile(
    r"(?:^|[,;])\s*wait\s*=\s*\"?([0-9]{1,9})\"?\s*(?:$|[,;])", re.ASCII | re.IGNORECASE
)


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
    with ExitStack() as room:
        return await _delivered(parts, request, delivery, Seen(parts.hooks.get(path), room))


async def _delivered(parts: Parts, request: Request, delivery: Delivery, seen: Seen) -> Response:
    try:
        verdict = await _judged(parts, request, delivery, seen)
    except (Unauthentic, InvalidInput, HTTPException) as error:
        verdict = refused(error)
    except Overloaded as error:
        verdict = refused(error)
        seen.verified = False  # it is kept as those of strangers are: there may be any number
    except Exception as error:
        if seen.verified:
            act_of(request).who = f"hook:{delivery.path}"
        await note(request, delivery, seen, failed(error))
        raise
    act = act_of(request)
    act.skip = verdict.became is not Became.STARTED
    if verdict.became is not Became.REFUSED:
        act.who = f"hook:{delivery.path}"
    told: list[Awaitable[None]] = [note(request, delivery, seen, verdict)]
    if verdict.header is not None and verdict.became is Became.STARTED:
        told.append(tell_done(request, verdict.header))
    await asyncio.gather(*told)  # one commit of the database for both
    if verdict.response is not None:
        return verdict.response
    assert verdict.header is not None
    return await _answer(parts, request, delivery, verdict.header, verdict.became)


async def _judged(parts: Parts, request: Request, delivery: Delivery, seen: Seen) -> Verdict:
    """What becomes of a delivery. Raises what it is refused with."""
    hook = seen.hook
    if hook is None:
        response = plain(404, "no workflow has a webhook of this path")
        return Verdict(Became.REFUSED, response, reason=_nowhere(parts, delivery.path))
    if delivery.method not in hook.methods:
        allowed = ", ".join(hook.methods)
        raise HTTPException(405, f"a delivery is sent by {allowed}", {"Allow": allowed})
    if hook.shut:
        response = plain(503, "this webhook is not set up yet", {"Retry-After": "60"})
        return Verdict(Became.REFUSED, response, reason=hook.shut)
    if delivery.method == "POST":
        parts.load.check()  # it costs least before anything is read
    delivery.body = await read_body(request, parts.limit)
    seen.read = True
    await hook.verify(delivery, parts.clock.now())
    seen.verified = not isinstance(hook.scheme, Anyone)
    delivery.replace(hook.scheme.without_proof(delivery.body))  # nor is it for the run to store
    answer = hook.scheme.challenge(delivery)
    if answer is not None:
        return Verdict(Became.ANSWERED, _text(answer.text, answer.media_type))
    key = seen.key = await key_of(parts.keys.secret, hook, delivery)
    # Refused before anything is started.
    seen.room.enter_context(parts.load.waiting(_wait(request, hook)))
    try:
        verdict = await started(parts, hook, delivery, key, f"hook:{delivery.path}")
    except (InvalidInput, HTTPException):
        known = await repeated(parts, hook, key)
        if known is None:
            raise
        return known
    if verdict.became is Became.IGNORED:
        return await repeated(parts, hook, key) or verdict
    return verdict


def _nowhere(parts: Parts, path: str) -> str:
    """Why there is no hook at this path, as an operator is told."""
    near = [each for each in parts.hooks if path.endswith(f"/{each}")]
    if near:
        return f"no hook has this path, and /hooks/{near[0]} is one: does a proxy add to paths?"
    return "no workflow has a webhook of this path"


# --- what it starts -------------------------------------------------------------------------------


async def started(
    parts: Parts, hook: Hook, delivery: Delivery, key: str | None, by: str
) -> Verdict:
    """Start its run, unless a delivery of this key has started one. Raises what it is refused with.

    The first stands, so that what a later one says is not compared. `by`: who starts it.
    """
    workflow = parts.engine.app.workflow(hook.workflow)
    arguments = await _arguments(hook, workflow, delivery)
    if arguments is None:
        return Verdict(Became.IGNORED, Response(status_code=204))
    try:
        with parts.load.starting():
            header, new = await parts.engine.start(
                hook.workflow,
                arguments,
                idempotency_key=key,
                strict=hook.webhook.strict,
                compare=False,
                by=by,
            )
    except RunRemoved as gone:  # it was taken, and its sender is to send it no more
        told = reply(Accepted(gone.run, links(gone.run)), 202, {"Idempotency-Replayed": "true"})
        return Verdict(Became.REPEATED, told, gone=gone.run)
    return Verdict(Became.STARTED if new else Became.REPEATED, header=header)


async def repeated(parts: Parts, hook: Hook, key: str | None) -> Verdict | None:
    """The run that a delivery of this key has started, although this one could not; or None."""
    found = await parts.engine.of_key(key, hook.workflow, 1) if key is not None else ()
    return Verdict(Became.REPEATED, header=found[0]) if found else None


async def _arguments(
    hook: Hook, workflow: Workflow[Any, Any], delivery: Delivery
) -> Mapping[str, Any] | None:
    """The arguments of its run; None: it is not for us. Raises `InvalidInput`, a 400 or 415."""
    make, coding = hook.webhook.arguments, delivery.headers.get("content-encoding")
    if make is None:
        not_coded(coding)
    if is_json(delivery.content_type) and delivery.body and not is_coded(coding):
        _readable(delivery)
    if make is not None:
        made = await _called("arguments", make, delivery)
        if not (made is None or isinstance(made, Mapping)):
            told = f"arguments= of the webhook {delivery.path} returned {type(made).__name__}"
            raise HookFailed(f"{told}, and not a dict or None")
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


async def key_of(secret: Secret, hook: Hook, delivery: Delivery) -> str | None:
    """The idempotency key of its run: the first delivery of an id stands for all of them."""
    delivery.id = hook.scheme.id_of(delivery) or _key_of_sender(hook, delivery)
    named = delivery.id or _mark(secret, hook, delivery)
    if hook.webhook.key is not None:
        named = await _called("key", hook.webhook.key, delivery)
        if not (named is None or isinstance(named, str)):
            told = f"key= of the webhook {delivery.path} returned {type(named).__name__}"
            raise HookFailed(f"{told}, and not a text or None")
    if not named:
        return None
    return bounded_key(delivery.path, f"hook:{delivery.path}:{storable(named)}")


def bounded_key(path: str, key: str) -> str:
    """The key, or if it is too long, as providers name as they like, one that stands for it."""
    if stored_size(key) > LONGEST_KEY:
        return f"hook:{path}:sha256:{hashlib.sha256(key.encode()).hexdigest()}"
    return key


def _mark(secret: Secret, hook: Hook, delivery: Delivery) -> str | None:
    """What names a delivery that has no id: a digest of what was signed."""
    named = hook.scheme.mark_of(delivery)
    if named is None or secret.codec is None:
        return named
    # Else who reads the store could try what was in the body.
    return f"hmac:{secret.sign(_MARK, named.encode()).hex()}"


async def _called(option: str, function: Any, delivery: Delivery) -> Any:
    """What a function of the app makes of a delivery. Raises `HookFailed`, and what refuses it."""
    try:
        made = function(delivery)
        return await made if inspect.isawaitable(made) else made
    except (RewakeError, HTTPException):
        raise
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{PurePath(frame.filename).name}, line {frame.lineno}"
        # Its message may have parts of the delivery, and is in the log of the server alone.
        told = f"{option}= of the webhook {delivery.path} raised {type(error).__name__} ({place})"
        raise HookFailed(told) from error


# --- what the sender is told ----------------------------------------------------------------------


async def _answer(
    parts: Parts, request: Request, delivery: Delivery, header: Header, became: Became
) -> Response:
    """What the run answers; else, where the sender waits and the run ends, its result; else its id
    and links.
    """
    run, outcome = header.run, None
    repeated = {"Idempotency-Replayed": "true"} if became is Became.REPEATED else {}
    wait = _wait(request, parts.hooks[delivery.path])
    if wait and not header.answer:
        try:
            outcome = await parts.outcome(request, run, wait, or_response=True)
        except StuckError:  # it was started, and will go on
            outcome = None
        header = await parts.engine.get(run)
    if header.answer:
        return await response_to(parts, header, repeated)
    if outcome is not None:
        return ended(outcome, parts, run, repeated)
    shown = links(run)
    place = {"Location": located(request, shown.self)}
    return reply(Accepted(run, shown), 202, {**place, **repeated})


def _wait(request: Request, hook: Hook) -> float:
    """How many seconds the sender waits for the result. Raises `InvalidInput`."""
    asked = query_number(request, "wait", 0, LONGEST_WAIT)
    if asked is not None:
        return asked
    preferred = _PREFER_WAIT.search(",".join(request.headers.getlist("prefer")))
    return min(float(preferred[1]), LONGEST_WAIT) if preferred else hook.webhook.wait


def _text(text: str, media_type: str) -> Response:
    # What was asked is said again: it must not become a page.
    kept = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
    return Response(text, headers=kept, media_type=media_type)

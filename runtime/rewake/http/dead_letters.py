"""The endpoints of the messages that nobody could make anything of."""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.dispatchers.dispatcher import DeadLetters, Parked
from rewake.errors import RunNotFound
from rewake.http.admission import act_of
from rewake.http.answers import DeadLettersPage, DeadLetterView, Redriven
from rewake.http.bodies import query_limit, read_object, shaped, takes_query
from rewake.http.parts import parts_of, reply
from rewake.kinds import Purpose
from rewake.records import Invocation
from rewake.signing.redacting import without_links
from rewake.signing.secret import Secret
from rewake.views.moments import moment
from rewake.views.values import Values


class RedriveBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to send messages again. `id`: of one; null: all that can be seen."""

    id: str | None = None


@takes_query("limit")
async def listing(request: Request) -> Response:
    """`GET /v1/dead-letters`: messages that were parked, in no order, and why."""
    found, more = await _letters(request).page(query_limit(request))
    return reply(DeadLettersPage([_view(each) for each in found], more))


async def show(request: Request) -> Response:
    """`GET /v1/dead-letters/{id}`: one of them, with what is in it."""
    name = request.path_params["id"]
    found = await _letters(request).find(name)
    if found is None:
        raise _not_there(name)
    shown = _shown(parts_of(request).keys.secret, found)
    return reply({**msgspec.structs.asdict(_view(found)), "message": shown})


async def redrive(request: Request) -> Response:
    """`POST /v1/dead-letters`: send one, or all that can be seen, again as they were."""
    asked = shaped(await read_object(request, parts_of(request).limit), RedriveBody)
    act_of(request).about = asked.id or ""
    sent = await _letters(request).redrive(asked.id)
    if asked.id is not None and not sent:
        raise _not_there(asked.id)
    return reply(Redriven(sent))


def _shown(secret: Secret, parked: Parked) -> str:
    """What is in a message, as people may see it: without secrets, and without tokens of links."""
    body = without_links(parked.body)
    try:
        found = msgspec.json.decode(parked.body, type=Invocation)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return body
    if found.args is None:
        return body
    values = Values(secret, found.run)
    args = values.show(found.args, key=found.key, purpose=Purpose.CALL)
    named = msgspec.to_builtins(msgspec.structs.replace(found, args=None))
    return msgspec.json.encode({**named, "args": args}).decode()


def _letters(request: Request) -> DeadLetters:
    found = parts_of(request).engine.services.dispatcher.dead_letters
    if found is None:
        raise RunNotFound("no queue carries the messages of this server, so none is parked")
    return found


def _not_there(name: str) -> RunNotFound:
    return RunNotFound(f"no message {name!r} is parked, or somebody else looks at it now")


def _view(parked: Parked) -> DeadLetterView:
    return DeadLetterView(
        id=parked.id,
        at=moment(parked.at),
        reason=parked.reason,
        run=parked.run or None,
        key=parked.key,
        size=parked.size,
    )

"""The endpoints of callbacks, which machines call: the link in the path is all that they need.

Nothing but a POST decides: what looks at links, to show or to scan them, asks by GET or HEAD, and
is told 405. A link that is not genuine is a 401 whatever is wrong with it, as any other path is to
whoever has no token.
"""

from __future__ import annotations

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.engine.outside.callbacks import Callbacks
from rewake.errors import InvalidInput
from rewake.http.admission import act_of, note_holder
from rewake.http.bodies import read_json, read_object, shaped
from rewake.http.parts import parts_of, reply
from rewake.kinds import OutcomeKind
from rewake.views.moments import moment_or_none

_SAID = {OutcomeKind.OK: "completed", OutcomeKind.ERROR: "failed"}


class FailureBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a failure: the type and the message of the `TaskError` that is raised."""

    type: str
    message: str = ""


async def complete(request: Request) -> Response:
    """`POST /callback/{token}`: the result, as JSON; the first call stands."""
    callbacks, token = _called(request)
    result = await read_json(request, parts_of(request).limit)
    decided = await callbacks.complete(token, result)
    return reply({"state": _SAID[decided]})


async def fail(request: Request) -> Response:
    """`POST /callback/{token}/fail`: an error; the first call stands."""
    callbacks, token = _called(request)
    told = shaped(await read_object(request, parts_of(request).limit), FailureBody)
    if not told.type:
        raise InvalidInput("the type of an error is not empty", field="type")
    decided = await callbacks.fail(token, told.type, told.message)
    return reply({"state": _SAID[decided]})


async def heartbeat(request: Request) -> Response:
    """`POST /callback/{token}/heartbeat`: the machine lives. A body is not read."""
    callbacks, token = _called(request)
    until = await callbacks.heartbeat(token)
    act_of(request).skip = True  # it decides nothing, and may come each second
    return reply({"state": "waiting", "until": moment_or_none(until)})


def _called(request: Request) -> tuple[Callbacks, str]:
    """The callbacks of the app, and a token that is genuine: else the body is not even read."""
    callbacks, token = Callbacks(parts_of(request).engine), request.path_params["token"]
    note_holder(request, callbacks.check(token))
    return callbacks, token

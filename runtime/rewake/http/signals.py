"""The endpoints of signals: send one, wait for the answer to it, look at those of a run."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from rewake.engine.outside.signals import Kept, Signals, Told
from rewake.errors import InvalidInput
from rewake.http.admission import act_of, principal_of, tell_done, tenant_of
from rewake.http.bodies import (
    query_choice,
    query_limit,
    query_number,
    read_json,
    read_object,
    shaped,
    takes_query,
)
from rewake.http.cursors import next_cursor, place_in
from rewake.http.parts import parts_of, reply
from rewake.http.runs import LONGEST_WAIT, idempotency_key
from rewake.views.signals import signal_view
from rewake.views.values import Values

_UNREAD = {"true": True, "false": False}


class FirstSignal(msgspec.Struct, forbid_unknown_fields=True):
    """A signal to the run of a key, and the `input` of the run that it starts if there is none."""

    value: Any = None
    input: dict[str, Any] = {}


@takes_query("wait")
async def send(request: Request) -> Response:
    """`POST /v1/runs/{run}/signals/{signal}`: send a signal; with `wait=`, answer its answer."""
    parts, run = parts_of(request), request.path_params["run"]
    wait = query_number(request, "wait", 0, LONGEST_WAIT) or 0
    value = await read_json(request, parts.limit)
    door, who = Signals(parts.engine), principal_of(request).who
    kept = await door.keep(
        run, request.path_params["signal"], value, id=idempotency_key(request), by=who
    )
    return await _answered(request, door, kept, wait)


@takes_query("key", "tenant", "wait")
async def signal_or_start(request: Request) -> Response:
    """`POST /v1/workflows/{name}/signals/{signal}`: to the run of a key, or one that it starts."""
    parts, name = parts_of(request), request.path_params["name"]
    wait = query_number(request, "wait", 0, LONGEST_WAIT) or 0
    key = request.query_params.get("key", "")
    if not key:
        raise InvalidInput("key= names the run: its idempotency key", field="key")
    parts.load.check()
    given = shaped(await read_object(request, parts.limit), FirstSignal)
    door = Signals(parts.engine)
    with parts.load.starting():
        header, kept, new = await door.keep_or_start(
            name,
            key,
            request.path_params["signal"],
            given.value,
            given.input,
            id=idempotency_key(request),
            by=principal_of(request).who,
            tenant=tenant_of(request),
        )
    await tell_done(request, header)
    return await _answered(request, door, kept, wait, started=new)


@takes_query("cursor", "limit", "unread")
async def listing(request: Request) -> Response:
    """`GET /v1/runs/{run}/signals`: what the run was sent, in the order of sending."""
    parts, run = parts_of(request), request.path_params["run"]
    unread = query_choice(request, "unread", _UNREAD) or False
    begin = place_in(request, "cursor", int, lambda place: place >= 0) or 0
    end = begin + query_limit(request)
    header = await parts.engine.get(run)
    values = Values(parts.keys.secret, run, sealed=header.digest_key != "")
    found = await Signals(parts.engine).sent_to(run, begin, end, unread=unread)
    shown = [
        signal_view(each.signal, each.answer, delivered=each.delivered, values=values)
        for each in found.signals
    ]
    cursor = str(end) if found.more else None
    return reply({"signals": shown, "cursor": next_cursor(cursor)})


@takes_query("wait")
async def get(request: Request) -> Response:
    """`GET /v1/runs/{run}/signals/{signal}`: one signal by its id, and the answer to it."""
    parts, run = parts_of(request), request.path_params["run"]
    wait = query_number(request, "wait", 0, LONGEST_WAIT) or 0
    with parts.load.waiting(wait):
        told = await Signals(parts.engine).answer(run, request.path_params["signal"], wait)
    return _reply(told)


async def _answered(
    request: Request, door: Signals, kept: Kept, wait: float, *, started: bool | None = None
) -> Response:
    """The signal that was sent, with its answer if that comes in time."""
    signal = kept.signal
    act_of(request).about = signal.name
    if not wait:
        return _reply(Told(signal, None), kept.waits_for, started)
    parts = parts_of(request)
    with parts.load.waiting(wait):
        told = await door.answer(signal.run, signal.id, wait)
    return _reply(told, kept.waits_for, started)


def _reply(told: Told, waits_for: list[str] | None = None, started: bool | None = None) -> Response:
    if told.answer is not None:
        waits_for = None
    view = signal_view(told.signal, told.answer, waits_for=waits_for, started=started)
    return reply(view, 202 if view.state == "sent" else 200)

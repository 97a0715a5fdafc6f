"""The endpoints for replicas, hosts and load balancers."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from rewake.errors import InvalidInput, RunNotFound, StoreError
from rewake.http.bodies import read_body, read_object, shaped
from rewake.http.gate import path_of
from rewake.http.parts import parts_of, reply
from rewake.http.principals import principal_in
from rewake.records import Invocation
from rewake.signing import messages

_LATER = {"Retry-After": "1"}
_PATIENCE = 2.0  # Seconds that the store may take to answer.
_NOBODY = "~ready"  # No run is called so: to look for it is one read, where a list is many.

_decoder = msgspec.json.Decoder(Invocation)


async def invoke(request: Request) -> Response:
    """`POST /v1/invoke`: take a signed message, and work on it after the answer.

    Where the process stands still once it has answered, the work comes first.
    """
    parts = parts_of(request)
    body = await signed_body(request)
    try:
        invocation = _decoder.decode(body)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise InvalidInput(f"the body is not a message: {error}") from None
    if parts.closing.is_set():
        raise HTTPException(503, "this replica is closing", _LATER)
    if not await parts.inbox.take(invocation):
        raise HTTPException(503, "this replica has no room", _LATER)
    return reply({}, 202)


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request that says nothing."""


async def sweep(request: Request) -> Response:
    """`POST /v1/sweep`: check all that is due, once."""
    parts = parts_of(request)
    if principal_in(request.scope) is not None:
        shaped(await read_object(request, parts.limit), Nothing)
    else:
        await signed_body(request)
    await parts.engine.sweep()
    return reply({})


async def healthy(request: Request) -> Response:  # noqa: ARG001
    """`GET /healthz`: the process is up."""
    return reply({"status": "up"})


async def ready(request: Request) -> Response:
    """`GET /readyz`: the store answers, and work is taken."""
    parts = parts_of(request)
    if parts.closing.is_set():
        raise HTTPException(503, "this replica is closing", _LATER)
    try:
        async with asyncio.timeout(_PATIENCE):
            with suppress(RunNotFound):
                await parts.engine.get(_NOBODY)
    except (StoreError, TimeoutError):
        raise HTTPException(503, "the database does not answer", _LATER) from None
    engine = parts.engine
    troubles = {
        "abandoned_threads": engine.abandoned_threads,
        "shortage": engine.shortage,
        "unserved_tags": engine.services.tags.missing,
    }
    state = {"status": "ready", "free_slots": engine.free_slots}
    return reply(state | {name: told for name, told in troubles.items() if told})


async def signed_body(request: Request) -> bytes:
    """The body, if the signature on it is right. Raises `Unauthentic`."""
    parts = parts_of(request)
    body = await read_body(request, parts.limit)
    header = request.headers.get(messages.HEADER)
    path, now = path_of(request.scope), parts.clock.now()
    messages.check(parts.keys.secret, header, request.method, path, body, now)
    return body

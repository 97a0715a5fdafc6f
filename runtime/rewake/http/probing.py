"""The endpoint of `rewake doctor --host`: it answers as it is asked, to show what its host does."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rewake.clock import Clock
from rewake.doctor.host import APART, LARGEST, LONGEST, Probed, pattern
from rewake.http.bodies import query_choice, query_number, query_whole, read_body, takes_query
from rewake.http.parts import hung_up, no_longer, parts_of, reply

_BYTES = "application/octet-stream"


@takes_query("answer", "hold", "stream")
async def probe(request: Request) -> Response:
    """`POST /v1/probe`: what the process saw; or so many bytes, late, or in parts."""
    parts = parts_of(request)
    body = await read_body(request, parts.limit)
    hold = query_number(request, "hold", 0, LONGEST) or 0
    size = query_whole(request, "answer", 0, LARGEST, 0)
    if query_choice(request, "stream", {"yes": True}):
        return StreamingResponse(_parts(parts.clock), media_type="text/plain")
    if hold:
        with parts.load.waiting(hold):
            await parts.waited(asyncio.sleep(no_longer(hold)), hung_up(request))
    if size:
        return Response(pattern(size), media_type=_BYTES)
    settings, digest = parts.engine.settings, hashlib.sha256(body).hexdigest()
    found = Probed(
        parts.ticks.process,
        parts.ticks.gap(),
        digest,
        parts.platform,
        goes_on=not settings.pauses,
        streams=parts.streams,
    )
    return reply(found)


async def _parts(clock: Clock) -> AsyncIterator[bytes]:
    yield b"one\n"
    await clock.sleep(round(APART * 1000))
    yield b"two\n"

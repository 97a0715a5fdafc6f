"""The stream of a run over HTTP: a page, a long poll, or events (SSE); also by a link.

A cursor says where a reader is, and any server goes on from it. As events each has its cursor as
its id, so that a browser that has lost its connection goes on behind the last one that it was
given. Events end with the run; who asks again is told 204, which a browser takes for the end. Where
an answer arrives only when it is whole, events end with the first that there are.

A link opens one run, to read, for a time, and only what it was made for. One that is not genuine is
a 404, always the same one. How many may wait here at once is bounded, and for one link by far less:
a link may be passed on.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rewake.errors import InvalidInput, RewakeError, Unauthentic
from rewake.http.admission import note_holder
from rewake.http.bodies import (
    query_number,
    query_whole,
    read_object,
    shaped,
    takes_query,
    with_known_query,
)
from rewake.http.parts import Parts, hung_up, no_longer, parts_of, reply
from rewake.http.runs import LONGEST_WAIT, result_reply
from rewake.records import Millis
from rewake.signing.links import Link, Links, LinkUse
from rewake.stores.places import Place, cursor_of, first_place, place_of
from rewake.stores.told import MOST, Page, Telling
from rewake.views.moments import moment
from rewake.views.stream import told_view
from rewake.views.values import Values

log = logging.getLogger("rewake.http")

EVENTS = "text/event-stream"
DEFAULT_WAIT = 20.0
"""Seconds that a page waits for what is new, unless its request says otherwise."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that no proxy takes events for dead."""
LONGEST_STREAM: Millis = 900_000
"""After so long events end, and their reader asks again: a token may have been revoked since."""
LONGEST_LINK = 30 * 86_400
"""Seconds for which a link may be good."""
LINK = 86_400
"""Seconds for which it is, if nothing is said."""
FOR_LINKS = (Telling.ITEM, Telling.STATE)
"""What a link tells, if nothing is said."""

_EVENT_HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",
    "X-Content-Type-Options": "nosniff",
}
_NAMES = {each.value: each for each in Telling}
_QUERY = ("cursor", "limit", "only", "wait")


@dataclass(slots=True)
class _Reader:
    """Who asks for a run's stream: all of it, or what a link allows, until that is over."""

    parts: Parts
    run: str
    only: Sequence[Telling] = ()
    link: str = ""
    until: Millis = 0

    async def page(
        self,
        place: Place,
        limit: int,
        wait: float,
        *ends: Coroutine[Any, Any, None],
        quiet: Millis | None = None,
    ) -> Page:
        """A page, waited for as in `Parts.waited`. Raises `RunNotFound`."""
        streams = self.parts.engine.services.streams
        asked = streams.follow(self.run, place, limit, wait=wait, only=self.only, quiet=quiet)
        found = await self.parts.waited(asked, *ends)
        return found or Page([], place, more=False, ended=False)

    def shown(self, page: Page) -> list[dict[str, Any]]:
        """The page as JSON."""
        values = Values(self.parts.keys.secret, self.run, said=True)
        return [told_view(told, values) for told, _ in page.told]


# --- the endpoints -----------------------------------------------------------------------------


@takes_query(*_QUERY)
async def stream(request: Request) -> Response:
    """`GET /v1/runs/{run}/stream`: what a run tells."""
    reader = _Reader(parts_of(request), request.path_params["run"], _only(request))
    return await _answer(request, reader)


@with_known_query
@takes_query(*_QUERY)
async def by_link(request: Request) -> Response:
    """`GET /stream/{token}`: the same by a link."""
    parts, link = parts_of(request), _link(request)
    allowed = [_NAMES[name] for name in link.action.split(",") if name in _NAMES]
    wanted = _only(request) or allowed
    for each in wanted:
        if each not in allowed:
            raise HTTPException(403, f"this link does not tell {each}")
    reader = _Reader(parts, link.run, wanted, link.nonce, link.expires or 0)
    return await _answer(request, reader)


@with_known_query
@takes_query("wait")
async def result_by_link(request: Request) -> Response:
    """`GET /stream/{token}/result`: how the run of a link ended; 202 if it has not."""
    link = _link(request)
    waits = "wait" in request.query_params
    with parts_of(request).readers.waiting(link.nonce) if waits else contextlib.nullcontext():
        return await result_reply(request, link.run)


_Some = Annotated[list[Telling], msgspec.Meta(min_length=1, max_length=len(Telling))]


class LinkBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a link to a stream is for: what it tells, and for how many seconds it is good."""

    only: _Some = msgspec.field(default_factory=lambda: list(FOR_LINKS))
    expires: Annotated[int, msgspec.Meta(ge=1, le=LONGEST_LINK)] = LINK


async def link(request: Request) -> Response:
    """`POST /v1/runs/{run}/links`: a link with which a browser reads one run's stream and result.

    Nothing of it is stored: it is good until it expires, or its key is taken out of the secret.
    """
    parts, run = parts_of(request), request.path_params["run"]
    wanted = shaped(await read_object(request, parts.limit), LinkBody)
    await parts.engine.get(run)
    services = parts.engine.services
    base = services.settings.url.rstrip("/")
    if not base:
        raise HTTPException(409, "links live under REWAKE_URL, which this server does not know")
    expires = parts.clock.now() + wanted.expires * 1000
    only, nonce = ",".join(dict.fromkeys(wanted.only)), secrets.token_hex(12)
    links = Links(services.secret, base)
    made = Link(LinkUse.STREAM, run, "", 0, "", only, expires, nonce, links.signer)
    return reply({"url": links.url(base, made), "expires": moment(expires), "only": wanted.only})


def _link(request: Request) -> Link:
    """The link that the path has. Raises a 404, `LinkExpired`."""
    parts = parts_of(request)
    try:
        links = Links(parts.engine.services.secret)
        found = links.read(LinkUse.STREAM, request.path_params["token"], parts.clock.now())
    except Unauthentic:
        raise HTTPException(404) from None
    note_holder(request, found)
    return found


# --- the answers -------------------------------------------------------------------------------


async def _answer(request: Request, reader: _Reader) -> Response:
    """A page, or events, from the place that the request names."""
    events = EVENTS in _accepted(request)
    again = request.headers.get("last-event-id") if events else None
    cursor = again or request.query_params.get("cursor")
    place = place_of(reader.run, cursor) if cursor else first_place(reader.run)
    limit = query_whole(request, "limit", 1, MOST, MOST)
    wait = query_number(request, "wait", 0, LONGEST_WAIT)
    if events and request.method != "HEAD":
        return await _events(request, reader, place, limit)
    page = await reader.page(place, limit, 0)
    wait = DEFAULT_WAIT if wait is None and request.method != "HEAD" else wait
    if wait and not (page.told or page.ended):
        with reader.parts.readers.waiting(reader.link):
            page = await reader.page(page.place, limit, no_longer(wait), hung_up(request))
    shown = {"items": reader.shown(page), "cursor": cursor_of(page.place), "ended": page.ended}
    return reply(shown)


async def _events(request: Request, reader: _Reader, place: Place, limit: int) -> Response:
    """The stream as events, until the run has ended."""
    longest = no_longer(LONGEST_STREAM / 1000)
    if reader.parts.streams:
        page = await reader.page(place, limit, 0)
    else:
        with reader.parts.readers.waiting(reader.link):
            page = await reader.page(place, limit, no_longer(DEFAULT_WAIT), hung_up(request))
        longest = 0
    if page.ended and not page.told:
        return Response(status_code=204, headers=_EVENT_HEADERS)
    return _Events(reader, page, limit, longest)


class _Events(StreamingResponse):
    """Events from a page on, for so many seconds. Its reader is counted while it is sent."""

    def __init__(self, reader: _Reader, page: Page, limit: int, seconds: float) -> None:
        told = _told(reader, page, limit, round(seconds * 1000))
        super().__init__(told, headers=_EVENT_HEADERS, media_type=EVENTS)
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._reader.parts.readers.waiting(self._reader.link):
            await super().__call__(scope, receive, send)


async def _told(reader: _Reader, page: Page, limit: int, longest: Millis) -> AsyncIterator[bytes]:
    clock = reader.parts.clock
    quiet = clock.now()
    until = min(quiet + longest, reader.until or 2**53)
    yield b"retry: 1000\n\n"
    while True:
        for (_, place), shown in zip(page.told, reader.shown(page), strict=True):
            yield _event(cursor_of(place), shown)
        left = (until - clock.now()) / 1000
        if page.ended or left <= 0 or reader.parts.closing.is_set():
            return
        try:
            page = await reader.page(page.place, limit, min(HEARTBEAT, left), quiet=quiet)
        except RewakeError as error:
            log.warning("events of run %s end: %s", reader.run, error)
            return  # their reader asks again, and is told then
        if page.told:
            quiet = clock.now()
        else:
            yield b": \n\n"


def _event(cursor: str, shown: dict[str, Any]) -> bytes:
    data = msgspec.json.encode(shown)  # JSON has no line end outside of its escapes
    return f"id: {cursor}\nevent: {shown['type']}\ndata: ".encode() + data + b"\n\n"


def _accepted(request: Request) -> list[str]:
    """The media types that a request names, without their parameters."""
    ranges = ",".join(request.headers.getlist("accept")).split(",")
    return [each.partition(";")[0].strip().lower() for each in ranges]


def _only(request: Request) -> list[Telling]:
    """What is wanted of a stream; empty: all. Raises `InvalidInput`."""
    text = request.query_params.get("only")
    names = [] if text is None else text.split(",")
    for name in names:
        if name not in _NAMES:
            told = f"only is some of {', '.join(_NAMES)}, with commas between them"
            raise InvalidInput(told, field="only")
    return [_NAMES[name] for name in dict.fromkeys(names)]

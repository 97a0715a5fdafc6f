"""Errors as RFC 9457 problem details. One table says what each error is to a client.

Any other error is our fault: the client gets a plain 500, and only the log has the details.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import ExceptionHandler

from rewake.errors import (
    ArchiveUnavailable,
    CheckpointUnreadable,
    DecisionForbidden,
    EventConflict,
    InsufficientScope,
    InvalidInput,
    IssuerUnavailable,
    LinkExpired,
    NotYet,
    Overloaded,
    ReadableElsewhere,
    RewakeError,
    RunConflict,
    RunNotFound,
    RunRemoved,
    ScheduleConflict,
    ScheduleNotFound,
    StoreFull,
    StoreUnavailable,
    StuckError,
    Throttled,
    TokenExists,
    TokenNotFound,
    TransportUnavailable,
    Unauthentic,
)
from rewake.signing.redacting import path_shown
from rewake.values.text import storable

log = logging.getLogger("rewake.http")

MEDIA_TYPE = "application/problem+json"
_LONGEST = 500
"""Characters of an error that one line of the log has."""
BLANK = "about:blank"
"""The type of a problem of which its status says all."""


class ProblemType(NamedTuple):
    """What an error class is to a client. `detail` replaces a message that is not for clients."""

    status: int
    name: str
    title: str
    detail: str = ""
    headers: Mapping[str, str] = {}


PROBLEMS: Mapping[type[BaseException], ProblemType] = {
    InvalidInput: ProblemType(422, "invalid-input", "The input does not fit"),
    RunNotFound: ProblemType(404, "not-found", "There is no such thing"),
    NotYet: ProblemType(
        503,
        "not-yet",
        "It is not written down yet",
        "Try again in a moment: nothing was changed.",
        {"Retry-After": "1"},
    ),
    RunConflict: ProblemType(409, "conflict", "Its state does not allow this"),
    EventConflict: ProblemType(409, "event-conflict", "There is another event of this id"),
    RunRemoved: ProblemType(409, "removed", "Its run was removed"),
    StuckError: ProblemType(409, "stuck", "The run needs a person"),
    ReadableElsewhere: ProblemType(
        503,
        "readable-elsewhere",
        "Another server can read it",
        "Try again: what was stored needs another Python, a key or a newer Rewake.",
        {"Retry-After": "1"},
    ),
    TransportUnavailable: ProblemType(
        503,
        "transport-unavailable",
        "The queue does not answer",
        "Try again; what was asked may or may not have happened.",
        {"Retry-After": "1"},
    ),
    IssuerUnavailable: ProblemType(
        503,
        "issuer-unavailable",
        "The issuer of this token cannot be asked",
        "Try again in a moment: nothing was done.",
        {"Retry-After": "10"},
    ),
    LinkExpired: ProblemType(410, "gone", "This link is of no more use"),
    Unauthentic: ProblemType(
        401, "unauthentic", "Who are you?", headers={"WWW-Authenticate": 'Bearer realm="rewake"'}
    ),
    InsufficientScope: ProblemType(
        403,
        "insufficient-scope",
        "This token is not for that",
        headers={"WWW-Authenticate": 'Bearer realm="rewake", error="insufficient_scope"'},
    ),
    DecisionForbidden: ProblemType(403, "decision-forbidden", "You may not decide on this"),
    TokenNotFound: ProblemType(404, "token-not-found", "There is no such token"),
    ScheduleNotFound: ProblemType(404, "schedule-not-found", "There is no such schedule"),
    ScheduleConflict: ProblemType(409, "schedule-conflict", "The schedule does not allow this"),
    TokenExists: ProblemType(409, "token-exists", "There is such a token already"),
    StoreUnavailable: ProblemType(
        503,
        "store-unavailable",
        "The database does not answer",
        "Try again; what was asked may or may not have happened.",
        {"Retry-After": "1"},
    ),
    ArchiveUnavailable: ProblemType(
        503,
        "archive-unavailable",
        "The archive does not answer, or refuses it",
        "Try again: what is to be archived stays until it is. The server's log says what is wrong.",
        {"Retry-After": "10"},
    ),
    Throttled: ProblemType(429, "throttled", "It is started too often"),
    Overloaded: ProblemType(
        503,
        "overloaded",
        "There is no room for it now",
        "Try again in a moment: nothing was done.",
        {"Retry-After": "1"},
    ),
    StoreFull: ProblemType(507, "store-full", "The database is full", "Nothing was changed."),
}


class Problem(msgspec.Struct, omit_defaults=True):
    """The body of an error. `field` is the part of the input that does not fit, `run` the run that
    is there already, `scope` what a token lacks. `type` is `BLANK` where the status says it all.
    """

    title: str
    status: int
    type: str
    detail: str = ""
    field: str = ""
    run: str = ""
    scope: str = ""


def problem(found: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """The response that tells of a problem."""
    kept = {"Cache-Control": "no-store", **(headers or {})}
    body = msgspec.json.encode(found)
    return Response(body, found.status, headers=kept, media_type=MEDIA_TYPE)


def problem_of(error: Exception) -> Response:
    """The response to an error, by the table; else a 500 without details."""
    found = next((PROBLEMS[each] for each in type(error).__mro__ if each in PROBLEMS), None)
    if found is None:
        return plain(500)
    return problem(
        Problem(
            found.title,
            found.status,
            f"urn:rewake:problem:{found.name}",
            found.detail or storable(str(error)),
            storable(getattr(error, "field", "")),
            getattr(error, "run", ""),
            getattr(error, "scope", ""),
        ),
        _headers_of(error, found),
    )


def _headers_of(error: Exception, found: ProblemType) -> Mapping[str, str]:
    if not isinstance(error, Throttled):
        return found.headers
    return {"Retry-After": str(max(1, math.ceil(error.seconds)))}


def plain(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> Response:
    """The response for a problem that an HTTP status describes."""
    return problem(Problem(HTTPStatus(status).phrase, status, BLANK, detail), headers)


async def _rewake_error(request: Request, error: Exception) -> Response:
    if isinstance(error, CheckpointUnreadable):
        error = await _gone_meanwhile(request) or error
    response = problem_of(error)
    if response.status_code >= 500 and not isinstance(error, Overloaded):  # there are many
        log_failure(f"{request.method} {path_shown(request.scope['path'])} failed", error)
    return response


async def _gone_meanwhile(request: Request) -> RunNotFound | None:
    """That its run was removed while it was read, which is no damage; None if it is there."""
    try:
        await request.app.state.parts.engine.get(request.path_params["run"])
    except RunNotFound as gone:
        return gone
    except (RewakeError, KeyError):
        pass
    return None


def log_failure(what: str, error: Exception) -> None:
    """Say in the log why an answer is a 5xx: in one line, but for what nobody foresaw."""
    if not isinstance(error, tuple(PROBLEMS)):
        log.error("%s", what, exc_info=error)
        return
    told = str(error).encode("unicode_escape").decode("ascii")  # it may have been sent
    log.error("%s: %s", what, told[:_LONGEST])


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    detail = "" if error.detail == HTTPStatus(error.status_code).phrase else error.detail
    return plain(error.status_code, detail, headers)


async def _unexpected(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return plain(500)  # the server logs it: Starlette raises it again


async def _nobody_listens(request: Request, error: Exception) -> Response:  # noqa: ARG001
    return plain(400)


HANDLERS: Mapping[type[Exception], ExceptionHandler] = {
    RewakeError: _rewake_error,
    HTTPException: _http_error,
    ClientDisconnect: _nobody_listens,
    Exception: _unexpected,
}
"""For `Starlette(exception_handlers=...)`."""


def _allowed(request: Request) -> list[str]:
    """The methods of all routes of this path; Starlette would name those of the first."""
    app: Starlette = request.app
    methods: set[str] = set()
    for route in app.routes:
        if isinstance(route, Route) and route.matches(request.scope)[0] is not Match.NONE:
            methods |= route.methods or set()
    return sorted(methods)

"""What a server answers: JSON, or a problem (RFC 9457) as the error that the server met.

The table is that of `rewake.http.problems` the other way round; a client needs no server to be
installed for it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from rewake.errors import (
    ArchiveUnavailable,
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
    ServerUnavailable,
    StoreFull,
    StoreUnavailable,
    StuckError,
    Throttled,
    TokenExists,
    TokenNotFound,
    TransportUnavailable,
    Unauthentic,
    UsageError,
)

PROBLEM = "urn:rewake:problem:"
ERRORS: Mapping[str, type[RewakeError]] = {
    "invalid-input": InvalidInput,
    "not-found": RunNotFound,
    "not-yet": NotYet,
    "conflict": RunConflict,
    "event-conflict": EventConflict,
    "removed": RunRemoved,
    "stuck": StuckError,
    "readable-elsewhere": ReadableElsewhere,
    "transport-unavailable": TransportUnavailable,
    "issuer-unavailable": IssuerUnavailable,
    "gone": LinkExpired,
    "unauthentic": Unauthentic,
    "insufficient-scope": InsufficientScope,
    "decision-forbidden": DecisionForbidden,
    "token-not-found": TokenNotFound,
    "schedule-not-found": ScheduleNotFound,
    "schedule-conflict": ScheduleConflict,
    "token-exists": TokenExists,
    "store-unavailable": StoreUnavailable,
    "archive-unavailable": ArchiveUnavailable,
    "throttled": Throttled,
    "overloaded": Overloaded,
    "store-full": StoreFull,
}
"""Which error a problem type is."""

_ATTRIBUTES: Mapping[type[RewakeError], str] = {
    InvalidInput: "field",
    RunConflict: "run",
    RunRemoved: "run",
    InsufficientScope: "scope",
}
_NOTHING_DONE = (NotYet, Overloaded, IssuerUnavailable, ReadableElsewhere)
_TOO_MUCH = frozenset({425, 429})
"""Too early, and too many: nothing was done, and later it will be."""
_TRANSIENT = frozenset({408, 502, 503, 504})


class Answer(NamedTuple):
    """An answer as it came. The names of its headers are lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Lost(NamedTuple):
    """No answer came. `sent`: the server may have got the request."""

    reason: str
    sent: bool = True


class Reply(NamedTuple):
    """The status, the JSON and the headers of an answer that is no error."""

    status: int
    body: Any
    headers: Mapping[str, str] = {}


def read(got: Answer | Lost, url: str, *, secret: bool = False) -> Reply:
    """The answer. `secret`: it is of a link, not of a token's. Raises `RewakeError`."""
    if isinstance(got, Lost):
        told = "cannot reach" if not got.sent else "there is no answer from"
        raise ServerUnavailable(f"{told} {url}: {got.reason}")
    try:
        found = msgspec.json.decode(got.body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise _of_somebody_else(got.status, url) from None
    if 200 <= got.status < 300:
        return Reply(got.status, found, got.headers)
    error = _error_of(url, got.status, found if isinstance(found, dict) else {}, secret=secret)
    if isinstance(error, Throttled):
        error.seconds = retry_after(got)
    raise error


def nothing_was_done(got: Answer | Lost, error: RewakeError) -> bool:
    """Whether the request was surely not carried out, and may be sent once more."""
    if isinstance(got, Lost):
        return not got.sent
    return isinstance(error, _NOTHING_DONE)


def transient(got: Answer | Lost) -> bool:
    """Whether asking again may help, of a request that may have been carried out."""
    return isinstance(got, Lost) or got.status in _TRANSIENT


def retry_after(got: Answer | Lost) -> float:
    """Seconds that the server asks to wait; a date in its place is passed over."""
    text = "" if isinstance(got, Lost) else got.headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        return 0
    return seconds if math.isfinite(seconds) and seconds > 0 else 0


def _of_somebody_else(status: int, url: str) -> RewakeError:
    """The error for an answer that is no JSON: of another server, or of a proxy before this one."""
    if status in _TOO_MUCH:
        return Overloaded(f"what stands before {url} takes no more now (status {status})")
    if status in _TRANSIENT:
        return ServerUnavailable(f"what stands before {url} cannot reach it (status {status})")
    return ServerUnavailable(f"{url} is not a Rewake server (status {status})")


def _placed(told: str, where: str) -> str:
    """What is told, with the place that it is about said once."""
    if where in told:
        return told
    head, _, rest = told.partition(": ")
    around = rest and where.startswith((f"{head}.", f"{head}["))  # of what lacks this field
    return f"{where}: {rest if around else told}"


def _error_of(url: str, status: int, problem: Mapping[str, Any], *, secret: bool) -> RewakeError:
    """A problem as an error."""
    told = str(problem.get("detail") or problem.get("title") or f"status {status}")
    told = _placed(told, str(problem.get("field") or ""))
    if status == 401:
        return Unauthentic(
            f"{url} is no link that this server has made"
            if secret
            else f"{url} does not accept this token (see `rewake token`)"
        )
    kind = ERRORS.get(str(problem.get("type", "")).removeprefix(PROBLEM))
    if kind is None:
        kind = Overloaded if status in _TOO_MUCH else UsageError
        kind = ServerUnavailable if status >= 500 or status in _TRANSIENT else kind
    if status >= 500:
        title = str(problem.get("title") or "")
        told = f"{url} failed: {told if title in told else f'{title}. {told}'}"
    name = _ATTRIBUTES.get(kind)
    more = {} if name is None else {name: str(problem.get(name) or "")}
    return kind(told, **more)

"""The body and the query of a request, checked and typed, or refused."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from rewake.errors import InvalidInput
from rewake.records import Millis
from rewake.values.nested import json_of
from rewake.views.moments import millis_of

T = TypeVar("T")

LIMIT = 1024 * 1024
"""The largest body, in bytes."""
BODY_TIME = 30.0
"""Seconds in which a body must have come."""

_JSON = re.compile(r"application/(json|[\w.-]+\+json)", re.ASCII)
_PATH = re.compile(r" - at `\$\.?(.*)`$")
_FIELD = re.compile(r"field `(.*?)`")
_MOST_DIGITS = 18
_CLOSE = {"Connection": "close"}  # what is left of the body is not read


async def read_body(request: Request, limit: int = LIMIT) -> bytes:
    """The body, which is read no further than the limit, and no longer.

    Raises a 408 or 413, or a 400 if its client goes away.
    """
    declared = request.headers.get("content-length", "0")
    # A number of many digits takes long to read.
    if declared.isdecimal() and (len(declared) > _MOST_DIGITS or int(declared) > limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(BODY_TIME):
            return await _read(request, limit)
    except TimeoutError:
        told = f"the body did not come within {BODY_TIME:g} seconds"
        raise HTTPException(408, told, _CLOSE) from None


async def _read(request: Request, limit: int) -> bytes:
    chunks, size = [], 0
    try:
        async for chunk in request.stream():
            size += len(chunk)
            if size > limit:
                raise _too_large(limit)
            chunks.append(chunk)
    except ClientDisconnect:  # nobody hears it, but who looks for the cause
        raise HTTPException(400, "the client went away before all of its body had come") from None
    return b"".join(chunks)


def is_coded(coding: str | None) -> bool:
    """Whether a body of this Content-Encoding is another one than it seems."""
    return coding is not None and coding.strip().lower() not in ("", "identity")


def not_coded(coding: str | None) -> None:
    """Raise a 415 for a body that is compressed: how large it becomes would have no bound."""
    if is_coded(coding):
        told = "the body is compressed (Content-Encoding): send it as it is"
        raise HTTPException(415, told, {"Accept-Encoding": "identity"})


def media_type_of(request: Request) -> str:
    """What the body is said to be, without its parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def read_object(request: Request, limit: int = LIMIT) -> dict[str, Any]:
    """The body as a JSON object; no body is an empty one. Raises a 400, 413 or 415."""
    found = await read_json(request, limit, {})
    if not isinstance(found, dict):
        raise HTTPException(400, "the body must be a JSON object")
    return found


async def read_json(request: Request, limit: int = LIMIT, empty: Any = None) -> Any:
    """The body as JSON data; no body is `empty`. Raises a 400, 413 or 415."""
    body = await read_body(request, limit)
    if not body:
        return empty
    not_coded(request.headers.get("content-encoding"))
    if not _JSON.fullmatch(media_type_of(request)):
        raise HTTPException(415, "send JSON, with Content-Type: application/json")
    try:
        return json_of(body)
    except ValueError as error:
        raise HTTPException(400, f"the body is not JSON: {error}") from None


def shaped(found: dict[str, Any], form: type[T]) -> T:
    """The object as a struct. Raises `InvalidInput`, whose `field` names the wrong part."""
    try:
        return msgspec.convert(found, form)
    except msgspec.ValidationError as error:
        message = str(error)
        path = _PATH.search(message)
        name = _FIELD.search(message)
        field = ".".join(each[1] for each in (path, name) if each is not None and each[1])
        raise InvalidInput(_PATH.sub("", message), field=field) from None


# --- the query ---------------------------------------------------------------------------------

LARGEST_PAGE = 200
"""The most items of a page of a list, or of runs whose items it has."""
PAGE = 50
"""So many, if nothing is said."""

Endpoint = Callable[[Request], Awaitable[Response]]


def not_too_early(endpoint: Endpoint) -> Endpoint:
    """The endpoint, which does nothing for what a TLS server got before its handshake was over.

    That may be a repetition by a stranger (RFC 8470), who can start nothing so.
    """

    @functools.wraps(endpoint)
    async def checked(request: Request) -> Response:
        if request.headers.get("early-data") == "1":
            raise HTTPException(425, "send it again, once the connection is established")
        return await endpoint(request)

    return checked


def takes_query(*names: str) -> Callable[[Endpoint], Endpoint]:
    """Declare the query parameters of an endpoint; one without this takes none."""

    def declare(endpoint: Endpoint) -> Endpoint:
        endpoint.query = names  # type: ignore[attr-defined]
        return endpoint

    return declare


def with_known_query(endpoint: Endpoint) -> Endpoint:
    """The endpoint, which refuses what its query has too much: a slip would pass in silence."""
    names: tuple[str, ...] = getattr(endpoint, "query", ())

    @functools.wraps(endpoint)
    async def checked(request: Request) -> Response:
        given = [name for name, _ in request.query_params.multi_items()]
        for name in given:
            if name not in names:
                known = ", ".join(names) or "none"
                told = f"there is no query parameter {name!r} here (there is: {known})"
                raise InvalidInput(told, field=name)
            if given.count(name) > 1:
                raise InvalidInput(f"{name} is given more than once", field=name)
        return await endpoint(request)

    return checked


def query_number(request: Request, name: str, least: float, most: float) -> float | None:
    """A number from the query, if it has one. Raises `InvalidInput`."""
    text = request.query_params.get(name)
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        number = least - 1
    if not least <= number <= most:  # NaN is in no range
        raise InvalidInput(f"{name} must be a number from {least:g} to {most:g}", field=name)
    return number


def query_whole(request: Request, name: str, least: int, most: int, default: int) -> int:
    """A whole number from the query. Raises `InvalidInput`."""
    number = query_number(request, name, least, most)
    if number is None:
        return default
    if number != int(number):
        raise InvalidInput(f"{name} must be a whole number", field=name)
    return int(number)


def query_limit(request: Request) -> int:
    """How many items a page of a list may have. Raises `InvalidInput`."""
    return query_whole(request, "limit", 1, LARGEST_PAGE, PAGE)


def query_choice(request: Request, name: str, choices: Mapping[str, T]) -> T | None:
    """The choice that the query names, if any. Raises `InvalidInput`, which lists all."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if text not in choices:
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}", field=name)
    return choices[text]


def query_choices(request: Request, name: str, choices: Mapping[str, T]) -> list[T]:
    """The choices that the query names, with commas; empty: none. Raises `InvalidInput`."""
    text = request.query_params.get(name)
    if text is None:
        return []
    if any(each not in choices for each in text.split(",")):
        raise InvalidInput(f"{name} must be one of {', '.join(choices)}", field=name)
    return [choices[each] for each in dict.fromkeys(text.split(","))]


def query_moment(request: Request, name: str) -> Millis:
    """A moment from the query, 0 if it has none. Raises `InvalidInput`."""
    return query_moment_or_none(request, name) or 0


def query_moment_or_none(request: Request, name: str) -> Millis | None:
    """A moment from the query, if it has one. Raises `InvalidInput`."""
    text = request.query_params.get(name)
    try:
        return None if text is None else millis_of(text)
    except (ValueError, OverflowError):
        told = f"{name} must be a time such as 2026-01-31T12:00:00Z"
        raise InvalidInput(told, field=name) from None


def _too_large(limit: int) -> HTTPException:
    return HTTPException(413, f"a body may have at most {limit:,} bytes", _CLOSE)

"""`respond`: a run answers whoever sent the delivery that started it, before it ends.

It is an operation that waits for nothing: the commit that asks for it names what is answered in the
run's header, and only from then on is it given (`stores/responses.py`). So it costs no write of its
own, and the body goes on at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from rewake.authoring.context import current_context
from rewake.errors import CheckpointUnreadable, InvalidInput, NotInARun, UsageError
from rewake.kinds import Kind, Purpose
from rewake.records import Value
from rewake.replay.execution import current
from rewake.replay.operation import operation
from rewake.replay.program import Codec

LARGEST_BODY: Final = 256 * 1024
"""The most bytes of what a run answers."""
MOST_HEADERS: Final = 32
LONGEST_HEADER: Final = 2_000

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}", re.ASCII)
_TEXT = re.compile(r"[\t\x20-\x7e]*", re.ASCII)
_OURS = frozenset(
    {
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers of the connection, which are not the run's to say."""
_EMPTY = (204, 205, 304)
"""Statuses of answers that have no body."""


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a run answers. `text` is its body, or `data` if that is no text."""

    status: int = 200
    headers: list[tuple[str, str]] = []
    text: str = ""
    data: bytes = b""

    @property
    def body(self) -> bytes:
        """Its body, as it is sent."""
        return self.data or self.text.encode()


@operation
async def respond(
    body: Any = None, status: int = 200, headers: Mapping[str, str] | None = None
) -> None:
    """Answer the caller that waits for this run, once; the run goes on.

        await respond({"text": "We are on it."})

    `body` is JSON data, or a `str`, or `bytes`; None is empty. The answer is kept also where nobody
    waits, for later deliveries of the same id; the first one stands, also if the run is retried.
    It is given once the run has written it down, as it next waits for something.

    Raises:
        NotInARun: outside the body of a workflow, also in a task or a step.
        UsageError: the run has answered already.
        InvalidInput: it cannot be sent; `field` names the part.
    """
    execution = current()
    if execution is None:
        where = "it is for the body of a workflow, not for a task or a step"
        told = where if current_context() is not None else "it needs a run"
        raise NotInARun(f"respond(): {told}")
    if execution.responded:
        raise UsageError("a run answers once, and respond() was called before")
    made = response_of(body, status, headers or {})
    execution.responded = True

    def encoded(key: str) -> Value:
        found = msgspec.json.decode(msgspec.json.encode(made))
        return execution.codec.encode(found, key=key, purpose=Purpose.RESPONSE)

    # Due at once, and by the machine's clock, so that it stays so if that is set back.
    await execution.request(Kind.RESPONSE, "respond", due=execution.machine, args=encoded)


def response_of(body: Any, status: int, headers: Mapping[str, str]) -> Response:
    """What is sent. Raises `InvalidInput`, whose `field` names the part that cannot be."""
    if type(status) is not int or not 200 <= status <= 599:
        raise InvalidInput("status is a number from 200 to 599", field="status")
    media_type, content = _content(body)
    if content and status in _EMPTY:
        raise InvalidInput(f"an answer of status {status} has no body", field="body")
    if len(content) > LARGEST_BODY:
        told = f"a body has at most {LARGEST_BODY:,} bytes, and this one {len(content):,}"
        raise InvalidInput(told, field="body")
    given = _headers(headers)
    if media_type and "content-type" not in {name.lower() for name, _ in given}:
        given.append(("Content-Type", media_type))
    try:
        return Response(status, given, text=content.decode())
    except UnicodeDecodeError:
        return Response(status, given, data=content)


def recorded_response(codec: Codec, key: str, value: Value) -> Response:
    """What was recorded of a response. Raises `CheckpointUnreadable`."""
    found = codec.decode(value, key=key, purpose=Purpose.RESPONSE)
    try:
        return msgspec.json.decode(msgspec.json.encode(found), type=Response)
    except msgspec.MsgspecError as error:
        raise CheckpointUnreadable(f"{key}: what the run answered: {error}") from error


def _content(body: Any) -> tuple[str, bytes]:
    """The media type and the bytes of a body. Raises `InvalidInput`."""
    if body is None:
        return "", b""
    if isinstance(body, bytes):
        return "application/octet-stream", body
    try:
        if isinstance(body, str):
            return "text/plain; charset=utf-8", body.encode()
        return "application/json", msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInput(f"body is JSON data, a str or bytes: {error}", field="body") from None


def _headers(given: Any) -> list[tuple[str, str]]:
    """The headers, checked: one that has a line break would be two. Raises `InvalidInput`."""
    if not isinstance(given, Mapping):
        raise InvalidInput("headers is a dict of texts", field="headers")
    if len(given) > MOST_HEADERS:
        raise InvalidInput(f"an answer has at most {MOST_HEADERS} headers", field="headers")
    seen: set[str] = set()
    for name, text in given.items():
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise InvalidInput(f"{name!r} is no name of a header", field="headers")
        field = f"headers.{name}"
        if name.lower() in _OURS:
            raise InvalidInput(f"the header {name} is of the connection", field=field)
        if name.lower() in seen:
            raise InvalidInput(f"the header {name} is given twice", field=field)
        if not isinstance(text, str) or not _TEXT.fullmatch(text) or len(text) > LONGEST_HEADER:
            told = f"is one line of at most {LONGEST_HEADER:,} characters of ASCII"
            raise InvalidInput(f"the header {name} {told}", field=field)
        seen.add(name.lower())
    return list(given.items())

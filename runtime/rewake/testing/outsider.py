"""What others send to a server of a test, as they would over a network: no client of Rewake's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from rewake.client.answers import Answer, Lost
from rewake.errors import ServerUnavailable, UsageError
from rewake.testing.process import URL

FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass(frozen=True, slots=True)
class Response:
    """What the server answered. `headers`: by their names in small letters."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    def json(self) -> Any:
        """The body, which is JSON. Raises `ValueError`."""
        return msgspec.json.decode(self.content)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent: `target` is path and query."""

    method: str
    target: str
    headers: Mapping[str, str]
    content: bytes


def request_of(
    method: str,
    url: str,
    headers: Mapping[str, str] | None,
    content: bytes | str,
    json: Any,
    form: Mapping[str, str] | None,
) -> Request:
    """What is to be sent. Raises `UsageError`."""
    told = urlsplit(url)
    if told.netloc not in ("", urlsplit(URL).netloc) or not told.path.startswith("/"):
        raise UsageError(f"{url!r} is neither a path of this server nor a link to it")
    bodies = {JSON: json is not None, FORM: form is not None, "": bool(content)}
    given = [kind for kind, is_given in bodies.items() if is_given]
    if len(given) > 1:
        raise UsageError("a request has one body: content=, json= or form=")
    data = content.encode() if isinstance(content, str) else content
    if json is not None:
        data = msgspec.json.encode(json)
    if form is not None:
        data = urlencode(form).encode()
    sent = {"content-length": str(len(data))} if data else {}
    sent |= {"content-type": given[0]} if given and given[0] else {}
    sent |= {name.lower(): value for name, value in (headers or {}).items()}
    target = told.path + (f"?{told.query}" if told.query else "")
    return Request(method.upper(), target, sent, data)


def response_of(got: Answer | Lost) -> Response:
    """What was answered. Raises `ServerUnavailable` if the process died before."""
    if isinstance(got, Lost):
        raise ServerUnavailable(f"no answer came: {got.reason}")
    return Response(got.status, got.headers, got.body)

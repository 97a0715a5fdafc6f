"""Answers that one has already: an `ETag` on what is read, and a 304 for who names it.

The tag is of the body, so it changes exactly when what is shown does, on every replica alike.
"""

from __future__ import annotations

import functools
import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

from rewake.http.bodies import Endpoint

_TAG = re.compile(r'(?:W/)?("[!#-~\x80-\xff]*")')


def with_tag(endpoint: Endpoint) -> Endpoint:
    """The endpoint, whose answers have a tag, and are not sent again to who has them."""

    @functools.wraps(endpoint)
    async def tagged(request: Request) -> Response:
        response = await endpoint(request)
        body = getattr(response, "body", None)  # a stream has none
        if response.status_code != 200 or body is None:
            return response
        tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
        response.headers["ETag"] = tag
        if not _has(request, tag):
            return response
        headers = {name: response.headers[name] for name in _KEPT if name in response.headers}
        return Response(status_code=304, headers=headers)

    return tagged


_KEPT = ("etag", "cache-control", "x-content-type-options")


def _has(request: Request, tag: str) -> bool:
    """Whether who asks has the answer with this tag."""
    given = ", ".join(request.headers.getlist("if-none-match"))
    return given.strip() == "*" or tag in _TAG.findall(given)

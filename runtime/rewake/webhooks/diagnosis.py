"""Why a signature is wrong, as far as that can be told: for operators, never for who sent it.

A wrong secret and a body that was changed on the way look alike. But what changes a body mostly
reads JSON and writes it again, so that the signature is right for the same JSON written otherwise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from rewake.errors import Unauthentic
from rewake.records import Millis
from rewake.values.nested import json_of
from rewake.webhooks.bodies import is_form
from rewake.webhooks.delivery import Delivery
from rewake.webhooks.hooks import Hook

LARGEST = 64 * 1024
"""Of a larger body it is not tried: whoever sent it has proved nothing."""
_CHANGED = (
    "the body was changed on the way: the signature is right for the same {what}, so something"
    " between the sender and this server rewrites it; hand it on byte for byte"
)


async def told_why(hook: Hook, delivery: Delivery, reason: str, now: Millis) -> str:
    """The reason why a delivery could not be verified, told better if it can be."""
    if callable(hook.scheme.secret) or len(delivery.body) > LARGEST:
        return reason
    for what, body in _rewritten(delivery):
        changed = Delivery(
            delivery.path,
            body=body,
            method=delivery.method,
            headers=delivery.headers.pairs(),
            query=delivery.query.pairs(),
        )
        try:
            await hook.verify(changed, now)
        except Unauthentic:
            continue
        return _CHANGED.format(what=what)
    return reason


def _rewritten(delivery: Delivery) -> Iterator[tuple[str, bytes]]:
    """The body as it may have been before something changed it."""
    body = delivery.body
    if is_form(delivery.content_type):
        return
    for end in (b"\n", b"\r\n"):
        yield "text with a line break at its end", body + end
    yield "text without the line break at its end", body.rstrip(b"\r\n")
    if b"\r\n" in body:
        yield "text with other line breaks", body.replace(b"\r\n", b"\n")
    elif b"\n" in body:
        yield "text with other line breaks", body.replace(b"\n", b"\r\n")
    try:
        found = json_of(body)
    except ValueError:
        return
    for ascii_only in (False, True):
        for indent, separators in ((None, (",", ":")), (None, (", ", ": ")), (2, (",", ": "))):
            text = json.dumps(found, ensure_ascii=ascii_only, indent=indent, separators=separators)
            yield "JSON, written otherwise", text.encode("utf-8", "surrogatepass")

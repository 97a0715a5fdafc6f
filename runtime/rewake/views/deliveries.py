"""The views of deliveries that are kept."""

from __future__ import annotations

from typing import Any

import msgspec

from rewake.ledger import Received
from rewake.signing.api_tokens import redacted
from rewake.signing.redacting import without_tokens
from rewake.stores.deliveries import Kept
from rewake.views.moments import moment


class DeliveryView(msgspec.Struct, frozen=True, omit_defaults=True):
    """A delivery in a list. `reason`: why it was refused; `status`: what it was refused with.

    `run` is null if there is none; `size` is that of its body. `of`: the delivery of which it is a
    copy that was sent again by hand, `by` whom. `more`: so many before it were refused likewise
    and are not kept.
    """

    id: str
    at: str
    hook: str
    verdict: str
    run: str | None
    workflow: str | None
    size: int
    reason: str = ""
    status: int = 0
    client: str = ""
    of: str = ""
    by: str = ""
    more: int = 0


class WholeDeliveryView(DeliveryView, frozen=True, omit_defaults=True, kw_only=True):
    """A delivery with what was sent, without the secrets in it.

    `body` is text, or base64 where `encoding` says so; null if it was too large to be kept.
    """

    method: str
    headers: list[tuple[str, str]]
    query: list[tuple[str, str]]
    body: str | None
    encoding: str = ""


def delivery_view(kept: Kept) -> DeliveryView:
    """The view of a delivery in a list."""
    return DeliveryView(*_columns(kept))


def whole_delivery_view(kept: Kept, body: bytes | None) -> WholeDeliveryView:
    """The view of a delivery with all that was sent."""
    found, encoding = kept.delivery, ""
    try:
        text = None if body is None else without_tokens(redacted(body.decode()))
    except UnicodeDecodeError:
        text, encoding = msgspec.to_builtins(body), "base64"
    return WholeDeliveryView(
        *_columns(kept),
        method=found.method,
        headers=[(name, redacted(value)) for name, value in found.headers],
        query=[(name, redacted(value)) for name, value in found.query],
        body=text,
        encoding=encoding,
    )


def _columns(kept: Kept) -> tuple[Any, ...]:
    found: Received = kept.delivery
    return (
        kept.id,
        moment(found.at),
        found.path,
        found.verdict,
        found.run or None,
        found.workflow or None,
        found.size,
        found.reason,
        found.status,
        found.client,
        found.of,
        found.by,
        found.more,
    )

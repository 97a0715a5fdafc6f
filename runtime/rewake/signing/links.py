"""Links that people and machines are given: who holds one may do the one thing that it is for.

A link's token says in clear what it is for, and is signed as a whole by one of the app's keys,
which it names. It is worth nothing for another run, operation, holder or action. Nothing of it is
stored: what is recorded of a link (its key's id, its base URL, its expiry, its nonce) makes the
same link again in any process that has that key, and in no other.

    <base>/approve/<payload>.<signature>      both base64url, without padding

A link is single-use because what it is for has one outcome. That, and whether it was withdrawn, its
endpoint finds in the store; here is only whether the link is genuine and for how long it is good.
"""

from __future__ import annotations

import base64
import binascii
from enum import StrEnum
from typing import NamedTuple

import msgspec

from rewake.errors import LinkExpired, ReadableElsewhere, Unauthentic
from rewake.records import Millis
from rewake.signing.secret import Secret

__all__ = ["Link", "LinkUse", "Links"]

LONGEST = 4_096
"""The most characters of a token that is read."""
_PURPOSE = "link"


class LinkUse(StrEnum):
    """What a link opens; each use has a path of its own. Part of what is signed."""

    APPROVE = "approve"
    CALLBACK = "callback"
    STREAM = "stream"


class Link(msgspec.Struct, frozen=True, array_like=True):
    """What one link is for. `expires`: until when it is good; None: as long as its key."""

    use: LinkUse
    run: str
    key: str
    """Of the operation; empty for the run itself."""
    round: int
    """Of the operation, so that a link from before a retry of the run is worth nothing after it."""
    holder: str
    """Who it was made for; empty: whoever has it."""
    action: str
    """The only thing that it may do; empty: all that its use allows."""
    expires: Millis | None
    nonce: str
    """Random, from the run: no two links of one operation and holder are the same."""
    signer: str
    """The id of the key that signs it."""


class Links:
    """Makes and reads links. `base`: the address under which they live; empty: it is not known."""

    def __init__(self, secret: Secret, base: str = "") -> None:
        self._secret = secret
        self.base = base.rstrip("/")

    @property
    def signer(self) -> str:
        """The id of the key that signs new links."""
        return self._secret.id

    def url(self, base: str, link: Link) -> str:
        """The link as an address. Raises `ReadableElsewhere` if its key is not known here."""
        return f"{base}/{link.use}/{self.token(link)}"

    def token(self, link: Link) -> str:
        """The part of a link that is secret. Raises `ReadableElsewhere`."""
        if not self._secret.knows(link.signer):
            reason = f"the key {link.signer} that signs its links is not known here"
            raise ReadableElsewhere(reason, reason=reason)
        payload = msgspec.json.encode(link)
        signature = self._secret.sign(_PURPOSE, payload, key=link.signer)
        return f"{_text(payload)}.{_text(signature)}"

    def read(self, use: LinkUse, token: str, now: Millis) -> Link:
        """What a token is for.

        Raises:
            Unauthentic: it was not made here, or for another use.
            LinkExpired: it was, and its time is over.
        """
        parts = _parts(token)
        # The signature first: of what a stranger sends nothing is decoded.
        if parts is None or not self._secret.verify(parts.signature, _PURPOSE, parts.payload):
            raise Unauthentic("this link is not genuine")
        link = msgspec.json.decode(parts.payload, type=Link)
        if link.use is not use:
            raise Unauthentic("this link is not genuine")
        if link.expires is not None and now >= link.expires:
            raise LinkExpired("the time of this link is over")
        return link


class _Parts(NamedTuple):
    payload: bytes
    signature: bytes


def _parts(token: str) -> _Parts | None:
    payload, dot, signature = token.partition(".")
    if not dot or len(token) > LONGEST:
        return None
    try:
        found = _Parts(_bytes(payload), _bytes(signature))
    except (binascii.Error, ValueError):
        return None
    # One token has one form: else what was used, or is watched for, could be written in another.
    return found if (_text(found.payload), _text(found.signature)) == (payload, signature) else None


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)

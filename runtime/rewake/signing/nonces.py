"""Nonces of forms: a form that a page did not offer, or offered long ago, is not taken.

A nonce is not stored. It is signed, and bound to the link that the page was opened by, to who
opened it, and to the time when that was. So it is worth nothing in a form of another link; nor in
one that somebody else's browser is made to send, where a proxy logs people in and a link is for
anybody.
"""

from __future__ import annotations

from typing import Final

from rewake.records import Millis
from rewake.signing.secret import Secret

GOOD_FOR: Final[Millis] = 12 * 3_600_000
"""How long a page may stay open, in milliseconds."""
AHEAD: Final[Millis] = 60_000
"""How far the clock of another server may be ahead."""
_PURPOSE = "form nonce"


def new_nonce(secret: Secret, token: str, who: str, now: Millis) -> str:
    """The nonce of a form on the page of this link, for whoever opened it."""
    return f"{now}.{secret.sign(_PURPOSE, *_parts(token, who, now)).hex()}"


def is_fresh(secret: Secret, token: str, who: str, nonce: str, now: Millis) -> bool:
    """Whether a page of this link offered them the form, and lately."""
    at, _, signature = nonce.partition(".")
    if not (at.isascii() and at.isdecimal() and len(at) <= 16 and len(signature) == 64):
        return False
    try:
        signed = bytes.fromhex(signature)
    except ValueError:
        return False
    genuine = secret.verify(signed, _PURPOSE, *_parts(token, who, int(at)))
    return genuine and -AHEAD <= now - int(at) <= GOOD_FOR


def _parts(token: str, who: str, at: Millis) -> tuple[bytes, bytes, bytes]:
    return token.encode(errors="replace"), who.encode(errors="replace"), str(at).encode()

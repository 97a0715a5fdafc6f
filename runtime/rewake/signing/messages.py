"""How a message that travels over HTTP is signed.

`Rewake-Signature: t=<ms>,v1=<hex>`. The signature covers the method, the path below the base URL,
the body's hash and the time, so that it is worth nothing for another endpoint, another body, or
later. Repeating a message within the window is harmless: a message is only a hint.
"""

from __future__ import annotations

import hashlib
import re

from rewake.errors import Unauthentic
from rewake.records import Millis
from rewake.signing.secret import Secret

HEADER = "Rewake-Signature"
WINDOW: Millis = 300_000
"""How far a signature's time may be from now, in either direction."""

_PURPOSE = "http-message"
_FORM = re.compile(r"t=([0-9]{1,15}),v1=([0-9a-f]{64})", re.ASCII)


def sign(secret: Secret, method: str, path: str, body: bytes, now: Millis) -> str:
    """The value of the signature header for a message that is sent now."""
    return f"t={now},v1={secret.sign(_PURPOSE, *_parts(method, path, body, str(now))).hex()}"


def check(
    secret: Secret, header: str | None, method: str, path: str, body: bytes, now: Millis
) -> None:
    """Check that `header` is a fresh signature by an accepted secret. Raises `Unauthentic`."""
    # Only after the signature, so that a stranger does not learn this machine's time.
    if abs(now - signed_at(secret, header, method, path, body)) > WINDOW:
        raise Unauthentic("the signature is stale, or the two clocks differ by minutes")


def signed_at(secret: Secret, header: str | None, method: str, path: str, body: bytes) -> Millis:
    """When a message was signed by an accepted secret, however long ago. Raises `Unauthentic`."""
    form = _FORM.fullmatch(header or "")
    if form is None:
        raise Unauthentic(f"a {HEADER} header of the form t=...,v1=... is needed")
    time, signature = form.groups()
    if not secret.verify(bytes.fromhex(signature), _PURPOSE, *_parts(method, path, body, time)):
        raise Unauthentic("the signature is wrong")
    return int(time)


def _parts(method: str, path: str, body: bytes, time: str) -> tuple[bytes, ...]:
    return method.encode(), path.encode(), hashlib.sha256(body).digest(), time.encode()

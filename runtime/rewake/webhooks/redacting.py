"""Deliveries without the secrets that they show: as they are kept, and as people see them.

What proves who sent a delivery is of no use later: it was checked, and whoever reads it could send
the delivery again. So it is gone before anything is stored. Names tell most of it; a header that a
scheme puts the secret or a signature in is found by signing twice, so that none is forgotten.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable

from rewake.values.redaction import REDACTED
from rewake.webhooks.hooks import Hook
from rewake.webhooks.schemes import Scheme

LONGEST_TEXT = 2_000
"""The most characters of a name, or of a value, of a header or the query that are kept."""
MOST_TEXTS = 64
_SHORTEST_SECRET = 6
"""A secret of fewer bytes is not looked for in bodies: everything would be full of it."""

_SECRET = re.compile(
    r"authori[sz]ation|cookie|signature|secret|passw|token|credential|session|api-?key|^x-auth|"
    r"hmac|digest$|jwt|assertion|oidc|bearer|(access|functions|subscription)-?key|[-_](sig|pass)$",
    re.ASCII | re.IGNORECASE,
)
_SECRET_QUERY = re.compile(rf"{_SECRET.pattern}|^sig$|^key$|^code$|^auth$", re.IGNORECASE)
_HARMLESS = re.compile(r"timestamp$|[-_]time$|[-_]id$", re.ASCII | re.IGNORECASE)
"""What a delivery is known by if it is sent again by hand."""


def kept_headers(hook: Hook | None, given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The headers of a delivery without what is secret in them."""
    hidden = hidden_headers(hook.scheme) if hook is not None else frozenset()
    return _kept(given, lambda name: name.lower() in hidden or _is_secret(name))


def kept_query(given: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """The query of a delivery without what is secret in it."""
    return _kept(given, lambda name: _SECRET_QUERY.search(name) is not None)


def _kept(given: Iterable[tuple[str, str]], hides: Callable[[str], bool]) -> list[tuple[str, str]]:
    return [
        (name[:LONGEST_TEXT], REDACTED if hides(name) else text[:LONGEST_TEXT])
        for name, text in itertools.islice(given, MOST_TEXTS)
    ]


def kept_body(hook: Hook | None, body: bytes) -> bytes:
    """The body of a delivery without the secrets of its hook, which some senders put there."""
    body = hook.scheme.without_proof(body) if hook is not None else body
    secrets = [each for found in hook.secrets.values() for each in found] if hook else []
    for each in secrets:
        if len(each) >= _SHORTEST_SECRET:
            body = body.replace(each, REDACTED.encode())
    return body


def hidden_headers(scheme: Scheme) -> frozenset[str]:
    """The headers, in lower case, that depend on the secret: it or a signature is in them."""
    one, other = (scheme.sign(b"", secret, 0) for secret in (b"one", b"other"))
    return frozenset(name.lower() for name in one if one[name] != other[name])


def _is_secret(name: str) -> bool:
    return bool(_SECRET.search(name)) and not _HARMLESS.search(name)

"""API tokens as text: what is handed out once, and how it is told again.

    rewake_<id>_<secret><checksum>      16 hexadecimal digits, 43 and 6 of 0-9, A-Z, a-z

The beginning and the form are for secret scanners, and the checksum (a CRC, which protects against
slips and nobody else) lets them and us drop what was never a token. The id follows from the token's
name, so that a token is found in one read and a name has one token. The secret has 256 random bits.

What is stored is a SHA-256 of the whole text. A slow, salted hash is for passwords, which can be
guessed: it makes each guess dear. Nobody guesses 256 bits, at whatever price, so a fast hash is as
safe here, and it is computed for every request.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from collections.abc import Sequence

from rewake.access import check_grant
from rewake.ledger import Token
from rewake.records import Millis

PREFIX = "rewake_"
_DIGITS = string.digits + string.ascii_letters
_SECRET = 43
"""Digits of the secret: 62 ** 43 is more than 2 ** 256."""
_CHECKSUM = 6
_FORM = re.compile(rf"{PREFIX}([0-9a-f]{{16}})_[0-9A-Za-z]{{{_SECRET + _CHECKSUM}}}", re.ASCII)

_LIKELY = re.compile(rf"{PREFIX}\w{{16,}}", re.ASCII)


def id_of(name: str) -> str:
    """The id of the token of this name."""
    return hashlib.sha256(b"rewake token\0" + name.encode()).hexdigest()[:16]


def make_token(
    name: str,
    scopes: Sequence[str],
    workflows: Sequence[str],
    expires: Millis | None,
    *,
    by: str,
    now: Millis,
    tenant: str = "",
) -> tuple[str, Token]:
    """A new token as text, and what is kept of it. Raises `InvalidInput`."""
    check_grant(name, scopes, workflows, expires, now, tenant)
    text = new_token(id_of(name))
    allowed, limits = sorted(set(scopes)), sorted(set(workflows))
    return text, Token(name, digest_of(text), allowed, now, by, limits, tenant, expires)


def new_token(id: str) -> str:
    """A token of this id that nobody has yet."""
    secret = "".join(secrets.choice(_DIGITS) for _ in range(_SECRET))
    text = f"{PREFIX}{id}_{secret}"
    return text + _checksum(text)


def is_formed(text: str) -> bool:
    """Whether this has the form of an API token, whatever its checksum."""
    return _FORM.fullmatch(text) is not None


def redacted(text: str) -> str:
    """The text without what may be a token of ours, by its beginning and length."""
    return _LIKELY.sub(f"{PREFIX}...", text)


def id_in(text: str) -> str:
    """The id that a token names; empty if this is none."""
    found = _FORM.fullmatch(text)
    if found is None or _checksum(text[:-_CHECKSUM]) != text[-_CHECKSUM:]:
        return ""
    return found[1]


def digest_of(text: str) -> str:
    """What is kept of a token."""
    return hashlib.sha256(text.encode()).hexdigest()


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_DIGITS))
        digits = _DIGITS[digit] + digits
    return digits

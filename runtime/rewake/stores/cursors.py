"""Cursors: a place in a list as text, which clients only pass back.

Nothing of it is other than in a URL as it stands, for not every client quotes what it passes back.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

LONGEST = 2_048
"""Characters of a cursor."""


def cursor_of(place: Any) -> str:
    """The cursor that stands for a place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_of(cursor: str, kind: type[T]) -> T:
    """The place that a cursor stands for. Raises `ValueError` for one that is none."""
    if len(cursor) > LONGEST:
        raise ValueError("it is too long for a cursor")
    try:
        body = base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True)
        return msgspec.json.decode(body, type=kind)
    except (binascii.Error, ValueError, RecursionError):
        raise ValueError("it is no cursor") from None

"""Cursors: a place in a list as text, which clients only pass back."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from rewake.errors import InvalidInput

T = TypeVar("T")

LONGEST = 2_048
"""Characters of a cursor."""


def cursor_of(place: Any) -> str:
    """The cursor that stands for a place."""
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).decode().rstrip("=")


def place_in(request: Request, name: str, kind: type[T]) -> T | None:
    """The place that the query names, if any. Raises `InvalidInput`."""
    query: Mapping[str, str] = request.query_params
    text = query.get(name)
    if text is None:
        return None
    try:
        if len(text) > LONGEST:
            raise ValueError
        body = base64.b64decode(text + "=" * (-len(text) % 4), "-_", validate=True)
        return msgspec.json.decode(body, type=kind)
    except (binascii.Error, ValueError, RecursionError):
        told = f"{name} is the cursor of a page before, as it was told"
        raise InvalidInput(told, field=name) from None

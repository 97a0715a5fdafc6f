"""JSON that others send: it is read only if it is nested no deeper than what can be stored."""

from __future__ import annotations

from codecs import BOM_UTF8
from typing import Any

import msgspec

__all__ = ["DEPTH", "json_of"]

DEPTH = 64
"""How deep JSON may be nested: beyond it, what walks through it may meet a recursion limit."""


def json_of(data: bytes | str) -> Any:
    """What this is as JSON. Raises `ValueError`, whose text says what is wrong with it."""
    if isinstance(data, bytes):
        data = data.removeprefix(
            BOM_UTF8
        )  # as some platforms write; RFC 8259 allows to pass it over
    try:
        found = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from None
    except RecursionError:
        raise _too_deep() from None
    level = [found]
    for _ in range(DEPTH):
        level = [part for each in level for part in _parts(each) if isinstance(part, (dict, list))]
        if not level:
            return found
    raise _too_deep()


def _parts(value: Any) -> Any:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {DEPTH} levels")

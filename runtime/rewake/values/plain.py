"""Plain data: the values that JSON holds exactly.

None, bool, int of 64 bits, finite float, str, list, and dict with str keys. Exactly these types:
JSON would make a mere int of an `IntEnum`. A text with lone surrogates counts as plain, although
JSON cannot hold it; encoding it then fails.
"""

from __future__ import annotations

from math import isfinite
from types import NoneType
from typing import Any

__all__ = ["PLAIN", "plain_types"]

_LEAST, _MOST = -(2**63), 2**63 - 1

_INERT: frozenset[type] = frozenset({str, bool, NoneType})

PLAIN: frozenset[type] = _INERT | {int, float, dict, list}
"""The types of plain data."""

_KEYS: frozenset[type] = frozenset({str})

_DEPTH = 64
"""Deepest nesting that is taken as plain; deeper, C decoders may meet a recursion limit."""

_ELEMENTS = 1_000_000
"""Most elements above the deepest level, so that a cycle or a lattice of aliases ends."""


def plain_types(value: Any) -> set[type] | None:
    """Return the types that occur in plain data; None if `value` is not plain."""
    kind = type(value)  # most results are one text, or none, or a number
    if kind in _INERT or (kind is int and _LEAST <= value <= _MOST):
        return {kind}
    met: set[type] = set()
    level = [value]
    left = _ELEMENTS
    for _ in range(_DEPTH):
        found = set(map(type, level))
        met |= found
        if found <= _INERT:
            return met
        left -= len(level)
        if left < 0 or not found <= PLAIN:
            return None
        below = _contents(level)
        if below is None:
            return None
        if not below:
            return met
        level = below
    return None


def _contents(level: list[Any]) -> list[Any] | None:
    """Return what the containers in `level` contain; None if anything in it is not plain."""
    contents: list[Any] = []
    keys: set[type] = set()
    for item in level:
        kind = type(item)
        if kind is dict:
            keys.update(map(type, item))
            contents.extend(item.values())
        elif kind is list:
            contents.extend(item)
        elif kind is float:
            if not isfinite(item):
                return None
        elif kind is int and not _LEAST <= item <= _MOST:
            return None
    return contents if keys <= _KEYS else None

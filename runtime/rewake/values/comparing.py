"""Where two values differ, by the names of arguments, fields and keys.

Numbers, moments and the like are shown; of a text or anything else, which may be a secret and must
not come into a log, only the type and how long it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from rewake.values.digests import text_of
from rewake.values.fields import field_names, fields_with_default, tuple_fields

_DEPTH = 16
_SHOWN = (bool, int, float, complex, Decimal, datetime, date, time, timedelta, UUID)
_SIZED = (str, bytes, list, tuple, dict, set, frozenset)
_LONGEST = 60
_ABSENT = object()

_Pair = tuple[str, Any, Any]
"""A place, the recorded value there, and the one that is asked for now."""


def first_difference(
    recorded: Mapping[str, Any], asked: Mapping[str, Any], *, shown: bool = True
) -> str:
    """How recorded arguments differ from those asked for: `order.id differs (...)`.

    The first place counts. Without `shown`, it is named and no more. '' if they are the same, apart
    from fields that have a default and that the recorded objects lack, for their class has got them
    since.
    """
    for place, then, now in _differences("", recorded, asked, _DEPTH):
        if place and not shown:
            return f"{place} differs"
        if place:
            return f"{place} differs (recorded {_shown(then)}, asked for {_shown(now)})"
    return ""


def _shown(value: Any) -> str:
    if value is _ABSENT:
        return "nothing"
    if value is None or type(value) in _SHOWN:
        with suppress(ValueError):  # a number of too many digits
            return repr(value)[:_LONGEST]
    if isinstance(value, Enum):
        return f"{type(value).__name__}.{value.name}"
    length = f" of length {len(value)}" if type(value) in _SIZED else ""
    return f"a {type(value).__name__}{length}"


def _differences(place: str, then: Any, now: Any, depth: int) -> Iterator[_Pair]:
    """The places that differ; '' for a field that came since."""
    kind = type(now)
    names = tuple_fields(kind) or field_names(kind)
    if type(then) is not kind or depth == 0 or names is None:
        yield from _of_others(place, then, now, depth)
        return
    may_lack = fields_with_default(kind)
    for name in names:
        if hasattr(then, name):
            inner = getattr(then, name), getattr(now, name)
            yield from _differences(f"{place}.{name}", *inner, depth - 1)
        else:
            yield "" if name in may_lack else f"{place}.{name}", _ABSENT, getattr(now, name)
    for name in getattr(then, "__dict__", {}).keys() - getattr(now, "__dict__", {}).keys():
        yield f"{place}.{name}", getattr(then, name), _ABSENT


def _of_others(place: str, then: Any, now: Any, depth: int) -> Iterator[_Pair]:
    kind = type(now)
    if type(then) is kind is dict and depth and _told_apart(then, now):
        for key in (*now, *(then.keys() - now.keys())):
            inner = f"{place}[{key!r}]" if place else str(key)
            if key in then and key in now:
                yield from _differences(inner, then[key], now[key], depth - 1)
            else:
                yield inner, then.get(key, _ABSENT), now.get(key, _ABSENT)
    elif type(then) is kind and kind in (list, tuple) and depth and len(then) == len(now):
        for index, pair in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}[{index}]", *pair, depth - 1)
    elif text_of(then) != text_of(now):
        yield place, then, now


def _told_apart(then: dict[Any, Any], now: dict[Any, Any]) -> bool:
    """Whether keys that are equal are the same: 1 is equal to True."""
    texts = {key: text_of(key) for key in then}
    return all(texts.get(key, text) == text for key in now if (text := text_of(key)))

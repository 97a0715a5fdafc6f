"""Where two values differ, by the names of arguments, fields and keys; never their content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rewake.values.digests import text_of
from rewake.values.fields import field_names, fields_with_default, tuple_fields

_DEPTH = 16


def first_difference(recorded: Mapping[str, Any], asked: Mapping[str, Any]) -> str | None:
    """The first place where recorded arguments differ from those asked for: `order.note`.

    '' if they differ only in fields that have a default and that the recorded objects lack, for
    their class has got them since; None if nothing is found.
    """
    found = ""
    met = False
    for place in _differences("", recorded, asked, _DEPTH):
        met = True
        found = found or place
    return found if met else None


def _differences(place: str, then: Any, now: Any, depth: int) -> Iterator[str]:
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
            yield "" if name in may_lack else f"{place}.{name}"
    for name in getattr(then, "__dict__", {}).keys() - getattr(now, "__dict__", {}).keys():
        yield f"{place}.{name}"


def _of_others(place: str, then: Any, now: Any, depth: int) -> Iterator[str]:
    kind = type(now)
    if type(then) is kind is dict and depth:
        for key in (*now, *(then.keys() - now.keys())):
            inner = f"{place}[{key!r}]" if place else str(key)
            if key in then and key in now:
                yield from _differences(inner, then[key], now[key], depth - 1)
            else:
                yield inner
    elif type(then) is kind and kind in (list, tuple) and depth and len(then) == len(now):
        for index, pair in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{place}[{index}]", *pair, depth - 1)
    elif text_of(then) != text_of(now):
        yield place

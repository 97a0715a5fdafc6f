"""Items of a run's stream: which values may be emitted, and how many.

An item is JSON, exactly: what JSON would change (a tuple, an `IntEnum`, a date) is refused where it
is emitted, with the place of the part. Readers of any language get what was emitted, and nothing
of the app is loaded to show it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from rewake.errors import InvalidInput
from rewake.values.plain import PLAIN, plain_types

LARGEST = 64 * 1024
"""The most bytes of an item, as JSON in UTF-8."""
MOST = 100_000
"""The most items that one attempt, or one body, may emit."""
ROOM = 64 * 1024 * 1024
"""The most bytes of all of them together."""

IN_A_ROW = 1_000
"""After so many a body that does nothing else waits until they are committed."""

_encode = msgspec.json.Encoder().encode
_LONGEST_PLACE = 100


class Allowance:
    """How much one attempt, or one body, may still emit."""

    __slots__ = ("_event", "_in_a_row", "_items", "_room")

    def __init__(self) -> None:
        self._items, self._room = MOST, ROOM
        self._event, self._in_a_row = -1, 0

    def take(self, value: Any) -> int:
        """Count an item, and return its size. Raises `InvalidInput` for what is no item, or too
        much.
        """
        size = size_of(value)
        if not self._items:
            raise InvalidInput(f"no more than {MOST:,} items can be emitted here")
        if size > self._room:
            raise InvalidInput(f"no more than {ROOM:,} bytes of items can be emitted here")
        self._items -= 1
        self._room -= size
        return size

    def pauses(self, event: int) -> bool:
        """Count an item of a body after this event. Whether so many are enough for one commit."""
        self._in_a_row = self._in_a_row + 1 if event == self._event else 1
        self._event = event
        return self._in_a_row % IN_A_ROW == 0


def size_of(value: Any) -> int:
    """The bytes of an item. Raises `InvalidInput` for what is none; `field` names the part."""
    return len(json_of(value, "an item", LARGEST))


def json_of(value: Any, what: str, largest: int) -> bytes:
    """A value that is told as it is, as JSON. Raises `InvalidInput` as `size_of` does."""
    if plain_types(value) is None:
        place, found = _culprit(value)
        told = f"{what} is JSON, and {place or 'this'} is {found}"
        raise InvalidInput(f"{told}: give what JSON has for it", field=place)
    try:
        made = _encode(value)
    except UnicodeEncodeError:
        raise InvalidInput(f"{what} is JSON, and this has text that UTF-8 cannot hold") from None
    if len(made) > largest:
        told = f"{what} has at most {largest:,} bytes of JSON, and this one {len(made):,}"
        raise InvalidInput(told)
    return made


def _culprit(value: Any) -> tuple[str, str]:
    """The place of the first part that JSON does not have, and what it is."""
    level: list[tuple[str, Any]] = [("", value)]
    seen = set[int]()  # each once: what contains itself, twice, would double with each level
    for _ in range(_LONGEST_PLACE):
        below: list[tuple[str, Any]] = []
        for place, each in level:
            kind = type(each)
            if kind in (dict, list):
                if id(each) in seen:
                    continue
                seen.add(id(each))
            if kind not in PLAIN:
                return place[:_LONGEST_PLACE], f"of type {kind.__name__}"
            if kind is dict and any(type(key) is not str for key in each):
                return place[:_LONGEST_PLACE], "a dict with keys that are no text"
            if kind in (int, float) and plain_types(each) is None:
                return place[:_LONGEST_PLACE], f"the number {str(each)[:30]}"
            below += _parts(place, each)
        if not below:
            break
        level = below
    return "", "nested too deeply, or too large"


def _parts(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if type(value) is dict:
        yield from ((f"{place}.{key}".lstrip("."), each) for key, each in value.items())
    elif type(value) is list:
        yield from ((f"{place}[{index}]", each) for index, each in enumerate(value))

"""Labels of runs: short texts by name, by which runs are found."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from rewake.errors import InvalidInput

MOST = 8
"""The most labels of a run."""
ROOM = 256
"""The most bytes of all of them as JSON: the header has little room."""
LONGEST_VALUE = 100
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}", re.ASCII)


def checked(labels: Mapping[str, object]) -> dict[str, str]:
    """The labels, which may be kept. Raises `InvalidInput`; `field` names the one that may not."""
    for name, value in labels.items():
        if not _NAME.fullmatch(name):
            told = "begins with a letter and has at most 40 of A-Z, a-z, 0-9, _, . and -"
            raise InvalidInput(f"{name!r} is no name of a label: that {told}", field="labels")
        _check_value(name, value)
    found = {name: str(value) for name, value in sorted(labels.items())}
    if len(found) > MOST:
        told = f"a run has at most {MOST} labels, and these are {len(found)}"
        raise InvalidInput(told, field="labels")
    if (size := len(msgspec.json.encode(found))) > ROOM:
        told = f"the labels of a run have at most {ROOM} bytes as JSON, and these have {size}"
        raise InvalidInput(told, field="labels")
    return found


def _check_value(name: str, value: object) -> None:
    if not isinstance(value, str):
        told = f"a label is a text, and {name} is of type {type(value).__name__}"
        raise InvalidInput(told, field=f"labels.{name}")
    if not value or len(value) > LONGEST_VALUE or not value.isprintable() or "," in value:
        told = f"a label is one line of 1 to {LONGEST_VALUE} characters without commas"
        raise InvalidInput(f"{told}, and {name} is none", field=f"labels.{name}")


def labels_in(text: str) -> dict[str, str]:
    """What a query or an option says: `customer=c1`, or several with commas.

    Raises `InvalidInput`.
    """
    found: dict[str, str] = {}
    for part in text.split(","):
        name, equals, value = part.partition("=")
        if not equals or name in found:
            told = "labels are name=value, each name once; several with commas"
            raise InvalidInput(f"{told}, and {part[:80]!r} is none of these", field="label")
        found[name] = value
    return checked(found)


def said(labels: Mapping[str, str]) -> str:
    """The labels as `labels_in` reads them."""
    return ",".join(f"{name}={value}" for name, value in labels.items())

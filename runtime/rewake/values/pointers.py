"""JSON pointers: the names of the parts of a value, and what a reference of a schema leads to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def pointer(*parts: str | int) -> str:
    """The JSON pointer of these keys and indexes."""
    return "".join(f"/{str(each).replace('~', '~0').replace('/', '~1')}" for each in parts)


def parts_of(pointer: str) -> list[str]:
    """The keys and indexes of a JSON pointer, also of one behind a `#`."""
    return [each.replace("~1", "/").replace("~0", "~") for each in pointer.split("/")[1:]]


def pointed(root: Any, reference: str) -> Any:
    """What a reference (`#/$defs/a`) points at in its own schema; None if there is no such part."""
    for part in parts_of(reference):
        root = root.get(part) if isinstance(root, Mapping) else None
    return root

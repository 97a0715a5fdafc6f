"""What is said of input that does not fit, and which of that has no value in it."""

from __future__ import annotations

import re
from typing import Final

from rewake.errors import InvalidInput

_MISSING: Final = re.compile(r"Object missing required field `(.*)`", re.DOTALL)
_OF_NAMES: Final = re.compile(
    r"Object contains unknown field `[^`]*`|Expected `[^`]*`, got `[^`]*`"
)
"""What msgspec says in names of fields and types alone. All else that it says may have a value."""
NAMES_IN_PYDANTIC: Final = ("missing", "extra_forbidden")
"""The types of errors in which pydantic names a field, and no value."""


def misfit(path: str, message: str, *, names_only: bool = False) -> InvalidInput:
    """The error for a part of the input that does not fit."""
    return InvalidInput(f"{path}: {message}", field=path, names_only=names_only)


def lacking(path: str, name: str) -> InvalidInput:
    """The error for a part of the input that lacks a field: this field does not fit."""
    told = f"{path}: Object missing required field `{name}`"
    return InvalidInput(told, field=f"{path}.{name}", names_only=True)


def msgspec_misfit(path: str, message: str) -> InvalidInput:
    """The error for a part of the input of which msgspec said this itself."""
    if lacks := _MISSING.fullmatch(message):
        return lacking(path, lacks[1])
    return misfit(path, message, names_only=_OF_NAMES.fullmatch(message) is not None)

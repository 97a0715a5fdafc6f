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


class Misshapen(InvalidInput):
    """Input that does not fit, told by names of fields and types alone: no value is in it."""


def misfit(path: str, message: str, kind: type[InvalidInput] = InvalidInput) -> InvalidInput:
    """The error for a part of the input that does not fit."""
    return kind(f"{path}: {message}", field=path)


def lacking(path: str, name: str) -> Misshapen:
    """The error for a part of the input that lacks a field: this field does not fit."""
    told = f"{path}: Object missing required field `{name}`"
    return Misshapen(told, field=f"{path}.{name}")


def msgspec_misfit(path: str, message: str) -> InvalidInput:
    """The error for a part of the input of which msgspec said this itself."""
    if lacks := _MISSING.fullmatch(message):
        return lacking(path, lacks[1])
    return misfit(path, message, Misshapen if _OF_NAMES.fullmatch(message) else InvalidInput)

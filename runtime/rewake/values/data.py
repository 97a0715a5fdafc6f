"""What users hand to a client as JSON: the data of which the server makes their types again."""

from __future__ import annotations

import math
from pathlib import PurePath
from typing import Any

import msgspec

from rewake.errors import UsageError


def encoded(value: object) -> bytes:
    """The value as JSON. Raises `UsageError` for what JSON cannot hold."""
    try:
        plain = msgspec.to_builtins(value, str_keys=True, enc_hook=_plain)
        if _has_no_number(plain):
            raise UsageError("NaN and infinity are no JSON: give None, or a text")
        return msgspec.json.encode(plain)
    except UnicodeEncodeError as error:  # an argument from a shell need not be UTF-8
        raise UsageError(f"{error.object!r} is no text in UTF-8") from None
    except RecursionError:
        raise UsageError("this is nested too deep for JSON, or contains itself") from None
    except (TypeError, NotImplementedError, ValueError) as error:
        raise UsageError(f"this cannot be sent as JSON: {error}") from None


def _plain(value: Any) -> Any:
    """What an object is made of that msgspec does not know. Secrets are told: they are sent."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr and SecretBytes
        return value.get_secret_value()
    if hasattr(value, "model_dump"):
        return value.model_dump(by_alias=True)
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__qualname__} is no data")


def _has_no_number(plain: Any) -> bool:
    """Whether there is a float somewhere that is none to JSON, which would become null."""
    left = [plain]
    while left:
        each = left.pop()
        if isinstance(each, float):
            if not math.isfinite(each):
                return True
        elif isinstance(each, dict):
            left.extend(each.values())
        elif isinstance(each, (list, tuple)):
            left.extend(each)
    return False

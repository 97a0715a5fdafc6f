"""What users hand to a client as JSON: the data of which the server makes their types again."""

from __future__ import annotations

import math
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
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


def text_of(value: Any) -> str | None:
    """The text that stands for an object in JSON, if a text does: of a path, an address, a URL."""
    return str(value) if isinstance(value, _TEXTS) or hasattr(value, "unicode_string") else None


_TEXTS = (PurePath, IPv4Address, IPv4Network, IPv6Address, IPv6Network)


def _plain(value: Any) -> Any:
    """What an object is made of that msgspec does not know. Secrets are told: they are sent."""
    if hasattr(value, "get_secret_value"):  # pydantic's SecretStr and SecretBytes
        found = value.get_secret_value()
        return found.decode() if isinstance(found, bytes) else found
    if hasattr(value, "model_dump"):
        return _of_model(value)
    if (text := text_of(value)) is not None:
        return text
    raise TypeError(f"{type(value).__qualname__} is no data")


def _of_model(model: Any) -> Any:
    """A model as what it can be made of again. Its bytes are texts as its own config says."""
    found = model.model_dump(by_alias=True, round_trip=True)
    if not has_bytes(found):
        return found
    return with_texts(found, model.model_dump(by_alias=True, round_trip=True, mode="json"))


def has_bytes(found: Any) -> bool:
    """Whether there are bytes in the data of a model."""
    if isinstance(found, dict):
        return any(map(has_bytes, found.values()))
    if isinstance(found, (list, tuple, set, frozenset)):
        return any(map(has_bytes, found))
    return isinstance(found, (bytes, bytearray))


def with_texts(found: Any, told: Any) -> Any:
    """What was found, with what is told in place of bytes."""
    if isinstance(found, dict):
        pairs = zip(found.items(), told.values(), strict=True)
        return {name: with_texts(each, other) for (name, each), other in pairs}
    if isinstance(found, (list, tuple, set, frozenset)):
        return [with_texts(each, other) for each, other in zip(found, told, strict=True)]
    return told if isinstance(found, (bytes, bytearray)) else found


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

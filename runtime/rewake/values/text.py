"""Text as it can be stored and sent."""

from __future__ import annotations

import msgspec

_encode = msgspec.json.Encoder().encode


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates, which Python allows, become escapes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()


def stored_size(text: str) -> int:
    """The bytes of a text as JSON writes it, without its quotation marks.

    A character takes up to six. Raises `UnicodeEncodeError` for one that UTF-8 cannot hold.
    """
    return len(_encode(text)) - 2

"""Text as it can be stored and sent."""

from __future__ import annotations


def storable(text: str) -> str:
    """The text as UTF-8 can hold it: lone surrogates, which Python allows, become escapes."""
    return text if text.isascii() else text.encode(errors="backslashreplace").decode()

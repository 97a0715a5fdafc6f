"""Text of others, as it is shown: plain, whole where that is sensible, without tricks.

Characters that show nothing, or that turn the order of their neighbours around, become visible
escapes: nobody decides on a text that reads otherwise than it is.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

LONGEST_LINE: Final = 300
LONGEST_TEXT: Final = 20_000

_HIDDEN = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f"  # controls but for the end of a line
    "\u061c\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f"  # what shows nothing
    "\u202a-\u202e\u2066-\u2069"  # what turns the order around
    "\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"  # what is no character
)
_OF_ADDRESS: Final = r"[^\s<>\"'`\\^{}|]"
_ADDRESS = re.compile(rf"\bhttps?://{_OF_ADDRESS}{{1,2000}}(?!{_OF_ADDRESS})", re.IGNORECASE)
_LAST = ".,:;!?)]*_~"


class Piece(msgspec.Struct, frozen=True):
    """A part of a line, which may be an address."""

    text: str
    is_link: bool = False


def line(text: str, most: int = LONGEST_LINE) -> str:
    """Text as one line: a title, a name."""
    return shown(" ".join(text.split()), most)


def shown(text: str, most: int = LONGEST_TEXT) -> str:
    """Text without what cannot be seen; of too long a one it says how much is missing."""
    kept = text[:most].replace("\r\n", "\n").replace("\r", "\n").replace("\t", "    ")
    kept = _HIDDEN.sub(_escaped, kept.replace("\u2028", "\n").replace("\u2029", "\n"))
    return kept if len(text) <= most else f"{kept}… ({len(text) - most:,} characters more)"


def _escaped(hidden: re.Match[str]) -> str:
    return hidden[0].encode("unicode-escape").decode()


def paragraphs(text: str) -> list[list[list[Piece]]]:
    """Paragraphs of lines of pieces."""
    parts = re.split(r"\n\s*\n", shown(text).strip())
    return [[_pieces(each) for each in part.split("\n")] for part in parts if part.strip()]


def _pieces(text: str) -> list[Piece]:
    found, at = [], 0
    for match in _ADDRESS.finditer(text):
        address = _without_last(match[0])
        if not address.split("//", 1)[1]:
            continue
        end = match.start() + len(address)
        found += [Piece(text[at : match.start()]), Piece(address, is_link=True)]
        at = end
    found.append(Piece(text[at:]))
    return [each for each in found if each.text]


def _without_last(address: str) -> str:
    """An address without what ends the sentence around it."""
    while address and address[-1] in _LAST:
        if address[-1] == ")" and address.count("(") >= address.count(")"):
            break
        address = address[:-1]
    return address

"""Keys of operations as people read and write them: `bank.settled`, and not `bank%2Esettled`.

A key is in ASCII, and escapes in a name what would be a mark of the key itself. Only that must stay
escaped which would be taken for such a mark: a `.` is one where a number follows it that ends the
name (`fetch.2`). So what is spelled out is the same key, and a key stands for itself.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote_to_bytes

_COUNT = r"\d+(?:$|[/\[])"
_DOT = re.compile(rf"%2E(?!{_COUNT})")
_NO_COUNT = re.compile(rf"\.(?!{_COUNT})")
_LETTERS = re.compile(r"(?:%[89A-F][0-9A-F])+")
_FOREIGN = re.compile(r"[^\x00-\x7f]+")


def spelled(key: str) -> str:
    """The key for people."""
    return _LETTERS.sub(_letters, _DOT.sub(".", key)) if "%" in key else key


def key_meant(spelled: str) -> str:
    """The key that is meant; a key itself is meant as it is."""
    found = _FOREIGN.sub(lambda part: quote(part[0], errors="backslashreplace"), spelled)
    return _NO_COUNT.sub("%2E", found) if "." in found else found


def _letters(escaped: re.Match[str]) -> str:
    """The letters that these bytes are in UTF-8, if all can be printed; else as they are."""
    try:
        letters = unquote_to_bytes(escaped[0]).decode()
    except UnicodeDecodeError:  # a name that is cut
        return escaped[0]
    return letters if letters.isprintable() else escaped[0]

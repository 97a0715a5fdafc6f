"""The name of a person, and whether two are the same one."""

from __future__ import annotations

import string
from typing import Final

LONGEST: Final = 254
"""The most bytes of a name, as of an approver's."""

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


def is_name(text: str) -> bool:
    """Whether this can be the name of a person: a line of text, without blanks at its ends."""
    if not text or not text.isprintable() or text.strip() != text:
        return False
    return len(text.encode(errors="replace")) <= LONGEST


def is_same(one: str, other: str) -> bool:
    """Whether two names are of one person.

    Capital letters make no difference in addresses, for no two people have addresses that differ
    in them alone; but those of ASCII only, since others are folded in more than one way. Of other
    names they do, as an issuer's `sub` is told apart by them.
    """
    if "@" in one and "@" in other:
        return one.translate(_LOWER) == other.translate(_LOWER)
    return one == other

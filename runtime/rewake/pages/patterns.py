"""Patterns for the browser.

A schema's pattern is searched for; the attribute of HTML has to match the whole text, and is read
by a stricter grammar than Python's. So a pattern is written anew for it, piece by piece, or not
given to the browser at all: the server checks it in any case.
"""

from __future__ import annotations

import re
from typing import Final

_OUTSIDE = re.compile(
    r"""
      (?P<same> \\[dDwWsSbBnrtfv] | \\[\^$\\.*+?()\[\]{}|/] | \(\?(?::|=|!|<=|<!)
              | \((?!\?) | [)|.^$] | [*+?]\??(?![*+?]) | \{\d{1,3}(?:,\d{0,3})?\}\??(?![*+?]) )
    | \\(?P<bare> [-_@#%&=~`'"<>:;,!\ ] )
    | (?P<class> \[ )
    | (?P<literal> [^\\()\[\]{}*+?|.^$] )
    """,
    re.VERBOSE,
)
_INSIDE = re.compile(
    r"""
      (?P<same> \\[dDwWsSnrtfv] | \\[\^$\\.*+?()\[\]{}|/-] )
    | \\(?P<bare> [_@#%&=~`'"<>:;,!\ ] )
    | (?P<range> [A-Za-z0-9]-[A-Za-z0-9] )
    | (?P<special> [()\[{}/|&!#%,:;<=>@`~"'*+.$?-] )
    | (?P<literal> [^\\\]()\[{}/|-] )
    """,
    re.VERBOSE,
)
_SETS: Final = frozenset({r"\d", r"\D", r"\w", r"\W", r"\s", r"\S"})
_ESCAPED: Final = frozenset("()[]{}/|-&!#%,:;<=>@`~")
"""What a class of the newest grammar may only hold escaped, or may hold so."""


def browser_pattern(pattern: str) -> str | None:
    """The same pattern for an attribute of HTML; None if it cannot be said there."""
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return None
    made: list[str] = []
    at = 0
    while at < len(pattern):
        match = _OUTSIDE.match(pattern, at)
        if match is None:
            return None
        at = match.end()
        if match["class"]:
            found = _class(pattern, at)
            if found is None:
                return None
            text, at = found
            made.append(text)
        else:
            made.append(match["same"] or match["bare"] or match["literal"])
    return f".*(?:{''.join(made)}).*"


def _class(pattern: str, at: int) -> tuple[str, int] | None:
    """The class that begins here, and where it ends."""
    made = ["["]
    if pattern.startswith("^", at):
        made.append("^")
        at += 1
    if pattern.startswith("]", at):
        return None
    ends_a_range = True
    while not pattern.startswith("]", at):
        match = _INSIDE.match(pattern, at)
        if match is None or (match["special"] == "-" and not _is_literal(match, ends_a_range)):
            return None
        at = match.end()
        literal = match["bare"] or match["special"]
        if literal is not None:
            made.append(f"\\{literal}" if literal in _ESCAPED else literal)
        else:
            made.append(match["same"] or match["range"] or match["literal"])
        ends_a_range = bool(match["range"]) or match[0] in _SETS
    made.append("]")
    return "".join(made), at + 1


def _is_literal(dash: re.Match[str], ends_a_range: bool) -> bool:
    """Whether a dash stands for itself: where no range can begin, or end."""
    return ends_a_range or dash.string.startswith("]", dash.end())

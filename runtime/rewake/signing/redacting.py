"""Links in logs: who reads a log must not be able to use them."""

from __future__ import annotations

import re

_TOKEN = re.compile(r"/(approve|callback|stream)/[^/?\s]+")


def without_tokens(text: str) -> str:
    """The text, in which no path of a link has its token."""
    return _TOKEN.sub(r"/\1/***", text)


def path_shown(path: str) -> str:
    """A path that somebody asked for, as one line of a log that moves no terminal's cursor."""
    # First what breaks it up: behind a line break a token would go on.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in path)
    return without_tokens(line)

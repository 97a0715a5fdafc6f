"""Links in logs and views: who reads one must not be able to use them."""

from __future__ import annotations

import base64
import re

from rewake.signing.links import LinkUse

_BEGINNING = "WyJ"
"""How every token begins: it is base64, of a JSON array of texts."""
_USES = "|".join(
    base64.b64encode(f'["{each}",'.encode()).decode()[len(_BEGINNING) : -3] for each in LinkUse
)
_ANYWHERE = re.compile(rf"{_BEGINNING}(?:{_USES})[A-Za-z0-9_-]*\.[A-Za-z0-9_-]+")
_TOKEN = re.compile(r"/(approve|callback|stream)/[^/?\s]+")


def without_tokens(text: str) -> str:
    """The text, in which no path of a link has its token."""
    return _TOKEN.sub(r"/\1/***", text)


def without_links(text: str) -> str:
    """The text, in which no link has its token, in whatever address, quoting or JSON it stands."""
    return _ANYWHERE.sub("***", text) if _BEGINNING in text else text


def path_shown(path: str) -> str:
    """A path that somebody asked for, as one line of a log that moves no terminal's cursor."""
    # First what breaks it up: behind a line break a token would go on.
    line = "".join(each if each.isprintable() else repr(each)[1:-1] for each in path)
    return without_tokens(line)

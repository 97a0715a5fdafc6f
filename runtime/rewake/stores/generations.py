"""The ids of the runs of an idempotency key: `key-<hash>`, then `key-<hash>.2`, and so on."""

from __future__ import annotations

import re

_OF_A_KEY = re.compile(r"(key-[0-9a-f]{32})(?:\.([0-9]+))?")


def is_of_key(run: str) -> bool:
    """Whether this is the id of a run of a key."""
    return _OF_A_KEY.fullmatch(run) is not None


def generation(first: str, number: int) -> str:
    """The id of the n-th run of a key, of which this is the first."""
    return first if number == 1 else f"{first}.{number}"


def place_of(run: str) -> tuple[str, int] | None:
    """The id of the first run of its key, and which one this is; None: it is of no key."""
    found = _OF_A_KEY.fullmatch(run)
    return None if found is None else (found[1], int(found[2] or 1))

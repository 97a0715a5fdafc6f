"""The laps of a run: `continue_as_new` ends one and begins the next, with an empty history.

Laps count from 1. What belongs to a lap says so by the first part of its operation's key: `charge`
in the first one, `lap2/charge` in the second. So keys, idempotency keys, links, logs and items of
two laps are never the same, and what comes late for an earlier one is told by its key alone. No
other key begins so: a branch has a number in brackets before its `/`.
"""

from __future__ import annotations

import hashlib
import re

FIRST = 1
"""The number of the lap in which every run begins."""
LAP_OVER = "the run has continued as new since, and waits for this no more"
"""What is said to whoever answers a wait of an earlier lap."""
_PREFIX = re.compile(r"lap([0-9]+)/")


def prefix_of(lap: int) -> str:
    """The beginning of the keys of a lap; empty for the first one."""
    return "" if lap == FIRST else f"lap{lap}/"


def lap_of(key: str) -> int:
    """The lap in which the operation of this key was asked for."""
    found = _PREFIX.match(key)
    return FIRST if found is None else int(found[1])


def seed_of(seed: int, lap: int) -> int:
    """The seed of a lap of the run of this seed."""
    if lap == FIRST:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{prefix_of(lap)}".encode()).digest()[:6])


def within_lap(key: str) -> str:
    """The key without the part that tells the lap."""
    found = _PREFIX.match(key)
    return key if found is None else key[found.end() :]

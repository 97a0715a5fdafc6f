"""Keyed state, as it is stored. `rewake.engine.keyed` has the rules."""

from __future__ import annotations

import msgspec

from rewake.encoded import Value
from rewake.ledger import Millis


class Entrant(msgspec.Struct, frozen=True, array_like=True):
    """Who holds a state, or waits for it: a block of a run, by a token of its own."""

    run: str
    token: str
    since: Millis


class State(msgspec.Struct, omit_defaults=True):
    """A value under a name and a key: who has it now, and who waits in line."""

    name: str
    key: str
    value: Value | None = None
    version: int = 0
    """How often it was written."""
    holder: Entrant | None = None
    line: list[Entrant] = []
    left: list[str] = []
    """The tokens of those who have left last."""
    mark: str = ""
    """The mark of the newest write, which fences the next."""

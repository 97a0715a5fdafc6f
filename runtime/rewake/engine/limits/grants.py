"""What becomes of an attempt that comes to its limits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from rewake.ledger import Holder
from rewake.records import Millis, Outcome


class Grant(NamedTuple):
    """A place of a limit that an attempt has."""

    id: str
    holder: Holder


class LetIn(NamedTuple):
    """An attempt may begin, with these places. `seen`: the mark of its item, from before them."""

    grants: Sequence[Grant]
    seen: str | None = None


class Ended(NamedTuple):
    """A task has come to this without an attempt. `due`: when a look must see that it arrived."""

    outcome: Outcome
    due: Millis | None


class PutOff(NamedTuple):
    """An attempt waits: until then, or (None) in a line."""

    at: Millis | None

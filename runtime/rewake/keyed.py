"""Keyed state, as it is stored. `rewake.engine.outside.keyed` has the rules."""

from __future__ import annotations

import msgspec

from rewake.encoded import Value
from rewake.ledger import Millis

TURN = "state:"
"""How the names of signals begin that tell a block that it is its turn; then comes its token."""


class Entrant(msgspec.Struct, frozen=True, array_like=True):
    """Who holds a state, or waits for it: a block of a run, by a token of its own."""

    run: str
    token: str
    since: Millis
    number: int = 0
    """Of a body: the round of the run. Of a task: its attempt. A later one stands for this one."""
    task: str = ""
    """The key of the task, or of the step, whose block it is; empty: it is the body's."""

    def is_of(self, other: Entrant) -> bool:
        """Whether both are one block, in whichever attempt or round."""
        return (self.run, self.token) == (other.run, other.token)


class State(msgspec.Struct, omit_defaults=True):
    """A value under a name and a key: who has it now, and who waits in line."""

    name: str
    key: str
    tenant: str = ""
    """Whose runs have it; empty: of the runs that are of no tenant."""
    value: Value | None = None
    version: int = 0
    """How often it was written."""
    holder: Entrant | None = None
    handed: bool = False
    """Whether the holder stood in line, and is told that it has it."""
    line: list[Entrant] = []
    left: list[str] = []
    """Marks of those who have left last."""
    mark: str = ""
    """The mark of the newest write, which fences the next."""

"""What is sent to a run, as it is stored. `rewake.stores.signals` has the rules."""

from __future__ import annotations

import msgspec

from rewake.encoded import Value
from rewake.ledger import Millis


class Signal(msgspec.Struct, omit_defaults=True):
    """A signal to a run, as its sender's id tells it from others.

    What was delivered is in the history (`Signalled`), and stays here for senders that ask again.
    """

    run: str
    """The id of its run."""
    id: str
    """The sender's id."""
    name: str
    """What it is called."""
    number: int
    """Behind how many others it was sent: of those that wait, the lowest is delivered first."""
    at: Millis
    """When it was sent."""
    value: Value
    """What it says."""
    by: str = ""
    """Who sent it; empty: nobody who had to say."""
    mark: str = ""
    """The mark of the write that made it."""
    began: int = 0
    """The seed of the run that was to begin with it; 0: it was sent to one that was there."""
    refused: str = ""
    """Why it is not delivered: it did not fit what the run waited for."""
    answered: str = ""
    """The key of the operation that answered it; empty: nothing has."""
    answer: Value | None = None
    """What that said, as it was asked with it."""

    def stands(self, seed: int) -> bool:
        """Whether it was sent to the run of this seed.

        What a run was to begin with that was never made, or not by that start, was sent to none.
        """
        return self.began in (0, seed)

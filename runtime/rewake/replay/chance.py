"""Chance in a workflow: seeded by its run, so that every replay draws the same."""

from __future__ import annotations

import functools
import uuid
from random import Random


class Chance:
    """The random numbers and ids of a seed: that of a run, or of an attempt at a block in it."""

    def __init__(self, seed: int | str) -> None:
        self._seed = seed

    @functools.cached_property
    def numbers(self) -> Random:
        """The source of random numbers."""
        return Random(self._seed)

    @functools.cached_property
    def _ids(self) -> Random:
        return Random(f"{self._seed}/ids")

    def uuid4(self) -> uuid.UUID:
        """A random id."""
        return uuid.UUID(int=self._ids.getrandbits(128), version=4)

    def turn_to(self, seed: int) -> int:
        """Draw by this seed from here on, for whoever holds the source of numbers too."""
        self.numbers.seed(seed)
        self._ids.seed(f"{seed}/ids")
        return seed

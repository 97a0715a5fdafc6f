"""The codec of a run as its body has it: trouble that passes is none of the body's.

A payload codec that asks a service for keys fails as a store does that is out of reach. The body
would see an error that no replay gives it again, so it is halted instead, and its turn is put back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rewake.errors import StoreError
from rewake.records import Value
from rewake.replay.program import Codec


class Halting:
    """A codec that halts the body if it cannot encode now; else it is the one that it is given."""

    __slots__ = ("_encode", "_halt", "decode", "digest")

    def __init__(self, codec: Codec, halt: Callable[[StoreError], None]) -> None:
        self._encode, self._halt = codec.encode, halt
        self.decode, self.digest = codec.decode, codec.digest

    def encode(self, value: Any, **how: Any) -> Value:
        """The value as data, as `Codec.encode`. What it raises besides counts for nothing then."""
        try:
            return self._encode(value, **how)
        except StoreError as error:
            self._halt(error)
            raise

"""The payload codec: what becomes of users' data between this process and what keeps it.

Without one, stored data can be read by whoever reads the database. With one, every value, error,
reason and line of log of users passes it on its way there and back; `rewake.values.sealing` says
what and how. A codec has to be quick and at hand: it is called in the event loop, once a value.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol


class Context(NamedTuple):
    """Where data belongs. What was encoded for one context must not be decoded for another."""

    run: str
    """The id of its run."""
    key: str
    """The key of its operation, or its place in the item that it is stored in."""
    purpose: str
    """Its use in that place, such as `input` or `result`."""


class PayloadCodec(Protocol):
    """Encodes users' data before it is stored or sent, and decodes it. Any thread may call it."""

    def encode(self, data: bytes, context: Context) -> bytes:
        """The data as it is stored."""
        ...

    def decode(self, data: bytes, context: Context) -> bytes:
        """What `encode` was given, in the same context.

        Raises `CheckpointForged` for what no codec of this app encoded for this context, and
        `ReadableElsewhere` if that cannot be told here, as a key is missing. Whatever else it
        raises counts as that: the data is left as it is, and tried again later.
        """
        ...

"""What the attempts at a run say: the batches of its stream (`rewake.stores.streams`), and logs."""

from __future__ import annotations

import msgspec

Millis = int
"""A moment, as in `rewake.records`."""


class LogLine(msgspec.Struct, frozen=True, array_like=True):
    """One line that a workflow's body or an attempt logged, or printed (level `STDOUT`)."""

    at: Millis
    level: str
    message: str


class LogBatch(msgspec.Struct, frozen=True):
    """Lines that one attempt logged together. A workflow's body has the empty key."""

    run: str
    key: str
    attempt: int
    lines: list[LogLine]


class Emission(msgspec.Struct, frozen=True, array_like=True):
    """An item that an attempt emitted: a `Value` that is never so large as to be kept apart."""

    at: Millis
    codec: str
    body: msgspec.Raw


class StreamPart(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What one attempt has said since its last part: items, and lines that a `LogBatch` has."""

    key: str
    attempt: int
    items: list[Emission]
    log: int | None = None
    """The part of the attempt's log that is new; None: there is none."""


class StreamBatch(msgspec.Struct, frozen=True):
    """What attempts of one process have said, written together at one place of the stream."""

    run: str
    mark: str
    """The mark of the write, by which its writer recognises it."""
    parts: list[StreamPart]

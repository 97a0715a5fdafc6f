"""What is noted with an entry of a history: of an attempt at a step, and of how a run failed."""

from __future__ import annotations

import msgspec

Millis = int
"""A moment, as in `rewake.records`."""


class Cause(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a failed run ended by: the place in its history from which a retry goes on."""

    event: int
    """The number of the event, from 0, after which the error was raised."""
    key: str = ""
    """The operation whose error it was; empty: the body itself raised it."""
    late: bool = False
    """Whether the error is, or follows from, a `TimeoutError`."""


class Attempted(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What there is to say of one attempt at a step."""

    began: Millis
    retry_at: Millis | None = None
    number: int = 0
    """Its number, if attempts that did not end lie between; 0: it is the next one."""
    where: str = ""
    """The process, as `host:pid`; empty: that of the attempt before it in the history."""
    ended: Millis | None = None
    """When it ended, if its run was retried since, and this is how that was seen again."""
    once: bool = False
    """Of a failed attempt: whether its step runs at most once."""

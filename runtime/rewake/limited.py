"""What limits a task or a run, once its key is known, and where it waits for that."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from enum import StrEnum

import msgspec

Millis = int
"""A moment, as in `rewake.records`."""


HIGHEST = 100
"""The highest priority; the lowest is its negative."""


class LimitKind(StrEnum):
    """What a limit does with whoever is too much."""

    CONCURRENCY = "concurrency"
    """It waits in line until one of those that hold the limit has ended."""
    RATE = "rate"
    """It waits until the moment that is reserved for it."""
    THROTTLE = "throttle"
    """It is refused."""
    SINGLETON = "singleton"
    """It stands for the one that is there, or takes its place."""
    DEBOUNCE = "debounce"
    """It begins when nothing more has come for a while, with what came last."""
    BATCH = "batch"
    """It begins with others, as one."""
    CACHE = "cache"
    """It waits for the one that does the same, and takes what that came to."""


CACHED = "c-"
"""The first letters of the ids of what is cached, which lies apart from limits."""


class Limited(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One limit as it is for one call: recorded with what it limits, and part of its messages."""

    kind: LimitKind
    name: str
    """What is limited: by default a task or a workflow. Who has one name shares the limit."""
    key: str
    """The key for people, cut if it is long; empty: one limit for all."""
    count: int
    """How many may hold it at once; of a rate, how many may begin `per` milliseconds."""
    per: Millis = 0
    """Of what is cached: for how long."""
    burst: int = 1
    """Of a rate: how many may begin at once, when nothing has begun for long."""
    digest: str = ""
    """Of the whole key, if `key` is cut or hidden."""
    code: str = ""
    """Of what is cached: the digest of the function and version that make it."""

    @property
    def id(self) -> str:
        """What is one limit for all who share it."""
        parts = (self.kind, self.name, self.digest or self.key, "d" if self.digest else "")
        named = "\0".join(parts).encode("utf-8", "surrogatepass")
        apart = CACHED if self.kind is LimitKind.CACHE else ""
        return apart + hashlib.sha256(named).hexdigest()[:24]


class Terms(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Under which limits a task is carried out, and before which others."""

    limits: tuple[Limited, ...] = ()
    priority: int = 0
    """Those of a higher one come first, within bounds. See `rewake.stores.books`."""
    share: str = ""
    """Whose share of a limit it takes: a digest of its tenant, or of its keys."""


FREE = Terms()
"""The terms of most tasks: none."""


class Line(msgspec.Struct, frozen=True, array_like=True):
    """Where something waits in the line of a limit."""

    id: str
    place: str
    """The sort key of its item in the line."""
    said: str
    """The limit for people."""


class Admission(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """How far a run that is limited is let in: part of its header."""

    terms: Terms
    inside: bool = False
    """Whether it was let in; from then on it has its limits until it ends."""
    reserved: bool = False
    """Whether its moments are reserved; then `wake` of its header is when they have come."""
    line: Line | None = None
    joined: tuple[str, ...] = ()
    """Of a batch that gathers: digests of the newest starts that are in it."""
    takes_over: bool = False
    """Whether it cancels the runs that came to its singleton before it, while it waits there."""


def said(limit: Limited) -> str:
    """A limit for people: its name, and its key if it has one."""
    name = f"the same call of {limit.name}" if limit.kind is LimitKind.CACHE else limit.name
    return f"{name} [{limit.key}]" if limit.key else name


def is_awaited(terms: Terms) -> bool:
    """Whether there is a limit for which something may wait."""
    return any(limit.kind is not LimitKind.THROTTLE for limit in terms.limits)


def cached_by(terms: Terms) -> Limited | None:
    """By what the result of a task is cached; None: it is not."""
    return next((limit for limit in terms.limits if limit.kind is LimitKind.CACHE), None)


def in_order(limits: Sequence[Limited], kind: LimitKind) -> list[Limited]:
    """Those of a kind, in the one order in which everybody takes them: so no two wait in a circle.

    Those with a key come first, which are narrow: who waits there has not taken a wide one.
    """
    found = [limit for limit in limits if limit.kind is kind]
    return sorted(found, key=lambda limit: (not limit.key, limit.name, limit.id))

"""The views of limits: who holds each, and who waits in its line; and of what is cached."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from rewake.ledger import Limit, Waiter
from rewake.views.moments import moment, moment_or_none

SHOWN = 100
"""So many of a line are shown."""


class InLimitView(msgspec.Struct, frozen=True):
    """Who holds a limit, or waits for it: a task of a run, or (no `key`) the run itself."""

    run: str
    key: str | None
    since: str


class LimitView(msgspec.Struct, frozen=True):
    """A limit of one key. `key`: null where it is one for all. `next`: when a rate lets the next
    one begin. `waiting`: the first in line, in its order; `more`: others are behind them.
    """

    id: str
    kind: str
    name: str
    key: str | None
    count: int
    per: float | None
    holders: list[InLimitView]
    waiting: list[InLimitView]
    more: bool
    next: str | None


class CachedView(msgspec.Struct, frozen=True):
    """What is cached of one call of a task: of which operation of which run it is, since when and
    until when. `maker` carries the call out now, and `waited`: others wait for that.
    """

    id: str
    task: str
    key: str
    run: str | None
    operation: str | None
    made: str | None
    until: str | None
    maker: InLimitView | None
    waited: bool


def cached_view(found: Limit) -> CachedView:
    """The view of what is cached, or is about to be."""
    kept, holders = found.kept, found.holders
    return CachedView(
        found.id,
        found.name,
        found.key,
        None if kept is None else kept.run,
        None if kept is None else kept.key,
        None if kept is None else moment(kept.at),
        None if kept is None else moment(kept.at + found.per),
        InLimitView(holders[0].run, holders[0].key, moment(holders[0].since)) if holders else None,
        found.waits,
    )


def limit_view(limit: Limit, line: Sequence[Waiter]) -> LimitView:
    """The view of a limit; `line`: the first who wait, one more than are shown if there is."""
    return LimitView(
        limit.id,
        limit.kind,
        limit.name,
        limit.key or None,
        limit.count,
        limit.per / 1000 if limit.per else None,
        [InLimitView(h.run, h.key or None, moment(h.since)) for h in limit.holders],
        [InLimitView(w.run, w.key or None, moment(w.since)) for w in line[:SHOWN]],
        len(line) > SHOWN,
        moment_or_none(limit.next // 1000 or None),
    )

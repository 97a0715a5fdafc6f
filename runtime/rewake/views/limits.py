"""The views of limits: who holds each, and who waits in its line."""

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

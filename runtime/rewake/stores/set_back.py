"""Waits that were begun under a clock that was set back since.

A machine's clock may be wrong by hours or years, and then be set right. What was written before is
then written in the future, and whatever it waits for would come late by as much. Each item whose
moments change (`MOMENTS`) says when that was (`written`), so that

1. what is written in the future, by more than clocks may differ, was written before the set-back;
2. its waits are the differences to `written`. They begin again on the present clock, as long as
   they were, so that no wait becomes shorter. A parked run is looked at instead, since its turn
   knows how long its timers have been open (`ClockSetBack`).

What is written in the past stays as it is. It was written before the clock showed the present
moment for the first time, so a wait that is open still has lasted for longer than the clock was set
back by. Hence no wait takes more than twice its length, whatever the clock was set back by.

A holder that lives renews its lease, and then it is written in the present. So a lease that begins
again runs out under the dead only, and nothing is begun twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rewake.ledger import PATROL, Limit, Process
from rewake.published import Published
from rewake.records import Header, Millis, Operation
from rewake.states import RunState
from rewake.stores.table import Check

Dated = Header | Operation | Process | Limit | Published
"""The items that say when their moments were set."""
MOMENTS = ("due", "lease", "wake", "check_at")
"""The attributes with which `written` is set: all others that hold a wait change with them.

Not where one ends: an outcome takes the lease away, and its due time is still that of the lease.
"""


def is_ahead(item: Dated, now: Millis, margin: Millis) -> bool:
    """Whether the item was written before the clock was set back to `now`.

    A look at a limit is no change of it, and leaves `written`.
    """
    if isinstance(item, Limit) and item.due is not None and item.due > _latest(item, now) + margin:
        return True
    return item.written > now + margin


def _latest(limit: Limit, now: Millis) -> Millis:
    """For when the next look at a limit is, at the latest, by a clock that is right."""
    kept = 0 if limit.kept is None else limit.kept.at + limit.per
    return max(now, kept, limit.next // 1000) + PATROL


def begun_again(item: Dated, now: Millis) -> Mapping[str, Any]:
    """The changes by which the waits of an item that is ahead begin again."""
    if isinstance(item, Header) and item.state is RunState.DELAYED:
        return {"due": item.wake}  # a time of day, which its starter named
    if isinstance(item, Published):
        return {"due": now}
    if isinstance(item, Header) and item.state is RunState.PARKED:
        return {name: now for name in ("due", "wake", "check_at") if getattr(item, name)}
    if isinstance(item, Limit):
        # Its book minds the clock itself, by `written`, which changes with this.
        ahead = max(0, item.written - now) * 1000
        return {"due": now, **({"next": max(0, item.next - ahead)} if item.next else {})}
    names = ("due", "lease", "not_before") if isinstance(item, Operation) else ("due", "lease")
    found = {name: getattr(item, name) for name in names}
    waits = {name: now + max(0, at - item.written) for name, at in found.items() if at}
    if not isinstance(item, Process) and item.process:
        # Who looked for what its process held, if that died, did not look so far ahead.
        waits["due"] = now
    return waits


def unchanged(item: Dated) -> list[Check]:
    """The checks that an item is as it was read, as far as its waits go."""
    if isinstance(item, Limit):
        return [Check("mark", "=", item.mark)]
    if isinstance(item, Published):
        return [Check(name, "=", getattr(item, name)) for name in ("written", "due")]
    if isinstance(item, Process):
        return [Check(name, "=", getattr(item, name)) for name in ("written", "lease", "dead")]
    names = ["written", "owner"]
    names += ["number"] if isinstance(item, Operation) else ["state", "epoch", "count"]
    return [Check(name, "=", getattr(item, name)) for name in names]

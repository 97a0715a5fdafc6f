"""Who would wait for itself: a run that holds a limit and waits for what waits for that limit.

Found where it is asked for (a call of a workflow, the result of one, a task), along the runs that
wait for one another's end. Circles that close later, such as those of several limits, are found
once their runs are parked (`engine/sweeping/deadlocks.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

from rewake.ledger import Holder
from rewake.limited import Limited, LimitKind, Terms, in_order, said
from rewake.records import Header
from rewake.stores.protocol import Store


async def own_limit(store: Store, terms: Terms, by: Header) -> Limited | None:
    """The limit for which a run that this one waits for would wait in vain; None: there is none."""
    for limit in in_order(terms.limits, LimitKind.CONCURRENCY):
        book = await store.limit(limit.id)
        full = book is not None and len(book.holders) >= limit.count
        if book is not None and full and await is_circle(store, book.holders, by.run):
            return limit
    return None


async def is_circle(store: Store, holders: Sequence[Holder], run: str) -> bool:
    """Whether only this run, and those that wait for its end, hold a limit."""
    left = {each.run for each in holders}
    if not left or any(each.key for each in holders):
        return False  # a task waits for nothing
    header = await store.find(run)
    while header is not None:
        left.discard(header.run)
        parent = header.parent
        if not left or parent is None or not parent.waits:
            break
        header = await store.find(parent.run)
    return not left


def told_of(limit: Limited) -> str:
    """Why it is refused."""
    return f"{said(limit)} is held by the runs that wait for this, so it would never begin"

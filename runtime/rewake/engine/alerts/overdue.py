"""Runs that should have moved and did not: found by the due index, which has all that is open.

Whoever lives looks at what is due within seconds, and moves its due time. So what has been due for
`LATE` is looked at by nobody, or each look at it fails; in the part of a tag, it waits for servers
that are not there or have no room. What was sent by way of a queue and is taken by nobody is looked
at all the same: who looks notes one of each way (`Tags.saw_untaken`), which is told. What is parked
without any due time waits for people or for other runs, and `lost` finds what waits for nothing:
that would be a fault of Rewake's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final, NamedTuple

from rewake.engine.process.tags import LATE
from rewake.engine.services import Services
from rewake.errors import StuckError
from rewake.kinds import Kind
from rewake.ledger import KnownTag
from rewake.reasons import Reason, reason_of, why_late
from rewake.records import Header, Millis, Operation
from rewake.states import TERMINAL, RunState
from rewake.stores.history import History
from rewake.stores.keys import is_of_run, is_schedule, run_of, schedule_of
from rewake.stores.paused import is_paused
from rewake.stores.table import Due, Key
from rewake.tags import UNTAGGED
from rewake.values.sealing import for_people

_PAGE: Final = 1_000


class Late(NamedTuple):
    """A run that is late, since when, and by which task of which tag; empty: by itself."""

    header: Header
    since: Millis
    key: str
    tag: str
    reason: Reason


async def overdue(services: Services, most: int) -> tuple[list[Late], bool]:
    """The runs that are late, at most so many, each once, and whether there may be more."""
    found = list[Late]()
    async for late in _all_late(services):
        if len(found) == most:
            return found, True
        found.append(late)
    return found, False


async def _all_late(services: Services) -> AsyncIterator[Late]:
    """Each run that is late, by what of it is due for longest. Of each, one item is read."""
    await services.tags.look()
    until, known = services.clock.now() - LATE, set[str]()
    for tag in services.tags.known:
        async for _, key in _due(services, until, tag):
            if not is_of_run(key) or run_of(key) in known:
                continue
            item = await services.store.item(key)
            if not isinstance(item, Header | Operation) or item.due is None or item.due > until:
                continue  # the index is behind, or it is no run's
            known.add(item.run)
            if (late := await _late(services, item, item.due, tag)) is not None:
                yield late
    for way in services.tags.waiting:
        if way.run not in known and (late := await _untaken(services, way)) is not None:
            yield late


async def _untaken(services: Services, way: KnownTag) -> Late | None:
    """The run of which something was sent on this way, if still nobody has taken it."""
    header = await services.store.find(way.run)
    if header is None or (not way.key and header.epoch):
        return None
    item: Header | Operation = header
    if way.key:
        found = await services.store.operations(header.run, [way.key], header.count)
        item = found.get(way.key) or Operation(way.run, way.key, Kind.TASK)
        if item.owner or item.outcome is not None:
            return None
    return await _late(services, item, way.since, way.tag, "" if way.tag else "untaken")


async def late_schedules(services: Services) -> list[tuple[Millis, str]]:
    """The schedules at which nobody looks, as nobody carries runs on: since when, and which."""
    until = services.clock.now() - LATE
    found = _due(services, until, UNTAGGED)
    return [(since, schedule_of(key)) async for since, key in found if is_schedule(key)]


async def _due(services: Services, until: Millis, tag: str) -> AsyncIterator[tuple[Millis, Key]]:
    """What has been due since then, or longer."""
    last: Due | None = None
    while True:
        page = await services.store.due(until, limit=_PAGE, tag=tag, after=last)
        for due in page:
            yield due.due, due.key
        if len(page) < _PAGE:
            return
        last = page[-1]


async def _late(
    services: Services, item: Header | Operation, since: Millis, tag: str, code: str = ""
) -> Late | None:
    """The run of an item that is due for long; None if it is over, or need not move."""
    header = item if isinstance(item, Header) else await services.store.find(item.run)
    if header is None or header.state in TERMINAL or is_paused(header):
        return None
    key = item.key if isinstance(item, Operation) else ""
    reason = reason_of(header, for_people(header.error)) or why_late(
        code or _code(services, tag), header.run, tag
    )
    return Late(header, since, key, tag, reason)


def _code(services: Services, tag: str) -> str:
    if not tag:
        return "overdue"
    return "unserved-tag" if tag in services.tags.missing else "no-room"


async def lost(services: Services, headers: Sequence[Header]) -> list[Late]:
    """Those of these runs that wait for nothing, so that nobody would ever wake them."""
    found = []
    for header in headers:
        if header.state is not RunState.PARKED or header.due is not None or header.hears:
            continue
        try:
            history = await services.store.outline(header)
        except StuckError:
            continue  # whoever can read it tells
        if _waits_for_nothing(history) and await _is_same(services, header):
            since, reason = max(header.clock, header.created), why_late("lost", header.run)
            found.append(Late(header, since, "", "", reason))
    return found


def _waits_for_nothing(history: History) -> bool:
    items = [(asked, history.item(asked)) for asked in history.awaited()]
    if any(item is not None and item.due is not None for _, item in items):
        return False  # it will be looked at
    ended = [item is not None and item.outcome is not None for _, item in items]
    open_ = [asked for (asked, _), over in zip(items, ended, strict=True) if not over]
    return bool(items) and (not open_ or any(asked.kind is Kind.TASK for asked in open_))


async def _is_same(services: Services, header: Header) -> bool:
    """Whether nothing has become of a run since it was read."""
    now = await services.store.find(header.run)
    return now is not None and (now.mark, now.arrivals) == (header.mark, header.arrivals)

"""Checks of the database: that it can be written and read, and which keys its open links need."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from rewake.authoring.callback import asked_of
from rewake.authoring.linking import LinkFacts
from rewake.doctor.findings import Finding, failure, warning, well
from rewake.engine.alerts.overdue import Late, late_schedules, lost, overdue
from rewake.engine.runs.runs import Runs
from rewake.errors import StuckError
from rewake.kinds import Kind, Purpose
from rewake.reasons import why_late
from rewake.records import Header, Millis, Scheduled
from rewake.states import OPEN, RunState
from rewake.values.run_codec import RunCodec

SLOW: Final = 250.0
"""Milliseconds for a write, a read and a deletion, above which all is slow."""
MOST_RUNS: Final = 5_000
"""So many runs that have not ended are looked at."""
MOST_LATE: Final = 1_000
"""So many runs that are to be removed are counted."""
_LATE = 24.0
"""Hours by which the removal of runs may be late."""
_PAGE = 200


async def round_trip(engine: Runs) -> Sequence[Finding]:
    """Write, read and delete an item."""
    services, begun = engine.services, time.perf_counter()
    same = await services.store.trial.round_trip(services.unique())
    took = (time.perf_counter() - begun) * 1000
    told = f"written, read and deleted in {took:.0f} ms"
    if not same:
        told = "what was written is not what is read, or it stays when it is deleted"
        return [failure("database", told, "use a local disk, and no copy of a file that is open")]
    if took > SLOW:
        do = "each step of a run writes: use a faster disk and no network share, or a nearer server"
        return [warning("database", told, do)]
    return [well("database", told)]


async def archive(engine: Runs) -> Sequence[Finding]:
    """Write, find and remove a document in the archive."""
    services = engine.services
    archiving = services.keeping.archiving
    if archiving is None:
        return [well("archive", "none is set")]
    wrong = await archiving.tried(services.unique())
    if not wrong:
        return [well("archive", "a document is written, found and removed")]
    do = "let servers do that there: what is to be archived stays until it can be"
    return [failure("archive", told, do) for told in wrong]


async def growth(engine: Runs) -> Sequence[Finding]:
    """How large the database is, and whether ended runs are removed when their time is over."""
    services, now = engine.services, engine.services.clock.now()
    late = await services.store.overdue(now, MOST_LATE)
    size = services.store.trial.size
    told = "" if size is None else f"; the database has {size / 2**20:,.0f} MiB"
    if not late:
        return [well("growth", f"no ended run is past its time{told}")]
    count = f"{MOST_LATE:,} or more" if len(late) == MOST_LATE else f"{len(late):,}"
    hours = (now - late[0]) / 3_600_000
    told = f"{count} ended runs are past their time, the oldest by {hours:,.1f} h{told}"
    if hours < _LATE:
        return [well("growth", told)]
    return [warning("growth", told, "let a server run for longer: each removes a part at a time")]


async def keys_of_links(engine: Runs) -> Sequence[Finding]:
    """Which keys signed the links that are open, and whether each is known here."""
    secret, needed = engine.services.secret, await needed_keys(engine)
    told = ", ".join(f"{name} ({count})" for name, count in sorted(needed.ids.items()))
    unknown = sorted(name for name in needed.ids if not secret.knows(name))
    more = f"; only the newest {MOST_RUNS:,} runs were looked at" if needed.more else ""
    more += f"; {needed.unread} could not be read here" if needed.unread else ""
    if unknown:
        do = "put their secrets back into REWAKE_SECRET, behind a comma, until those links are over"
        told = f"open links were signed by keys that are not known here: {', '.join(unknown)}"
        return [failure("keys of links", told + more, do)]
    if needed.unread:
        do = "see which runs are stuck, and whether another server has the keys to read them"
        known = f"open links by key: {told}" if told else "no other open link"
        return [warning("keys of links", known + more, do)]
    others = [each for each in secret.ids if each not in needed.ids and each != secret.id]
    unused = f"; no open link needs {', '.join(others)}" if others and not needed.more else ""
    if not needed.ids:
        return [well("keys of links", f"no open link{unused}{more}")]
    return [well("keys of links", f"open links by key: {told}{unused}{more}")]


async def tags(engine: Runs) -> Sequence[Finding]:
    """Whether tasks wait for tags that no server serves."""
    found = engine.services.tags
    await found.look()
    if found.missing:
        named = ", ".join(found.missing)
        do = f"start servers for them: rewake serve --tags {','.join(found.missing)}"
        return [warning("tags", f"tasks wait for tags that no server serves: {named}", do)]
    return [well("tags", "no task waits for a tag that no server serves")]


async def late(engine: Runs) -> Sequence[Finding]:
    """Whether there are runs that should have moved and did not, or should have been started."""
    services = engine.services
    found, more = await overdue(services, MOST_LATE)
    found += await lost(services, await _open(engine))
    told = _late_schedules(await late_schedules(services), services.clock.now())
    if not found and not told:
        return [well("overdue", "no run is late")]
    for code, of in itertools.groupby(sorted(found, key=_by_reason), key=_by_reason):
        runs = list(of)
        oldest = min(runs, key=lambda each: each.since)
        hours = (services.clock.now() - oldest.since) / 3_600_000
        many = f"{len(runs):,}{' or more' if more else ''} late ({code})"
        first = f"run {oldest.header.run} for {hours:,.1f} h"
        told.append(
            warning("overdue", f"{many}: {first}", f"{oldest.reason.fix}: {oldest.reason.command}")
        )
    return told


def _late_schedules(late: Sequence[tuple[Millis, str]], now: Millis) -> list[Finding]:
    if not late:
        return []
    since, name = min(late)
    hours, reason = (now - since) / 3_600_000, why_late("overdue", "")
    told = f"{len(late):,} late: schedule {name} for {hours:,.1f} h"
    return [warning("overdue", told, f"{reason.fix}: {reason.command}")]


def _by_reason(late: Late) -> str:
    return late.reason.code


async def _open(engine: Runs) -> list[Header]:
    """The newest runs that have not ended, at most `MOST_RUNS`."""
    found, cursor = list[Header](), None
    while True:
        page, cursor = await engine.list(
            limit=_PAGE, cursor=cursor, states=[RunState.PARKED], children=True
        )
        found += page
        if cursor is None or len(found) >= MOST_RUNS:
            return found


class Needed(msgspec.Struct):
    """How many open waits with links each key has signed.

    `unread`: how many more runs and waits cannot be read here. `more`: there are runs beyond these.
    """

    ids: Counter[str]
    unread: int = 0
    more: bool = False


async def needed_keys(engine: Runs) -> Needed:
    """The ids of the keys of all open links."""
    found, cursor, looked = Needed(Counter()), None, 0
    while True:
        states = (*OPEN, RunState.STUCK)
        headers, cursor = await engine.list(limit=_PAGE, cursor=cursor, states=states)
        for header in headers:
            await _count_run(engine, header, found)
        looked += len(headers)
        if cursor is None or looked >= MOST_RUNS:
            found.more = cursor is not None
            return found


async def _count_run(engine: Runs, header: Header, found: Needed) -> None:
    try:
        history = await engine.services.store.entries(header)
    except StuckError:  # it hides what it needs, and not what the others do
        found.unread += 1
        return
    for kind in _SIGNERS:
        for asked in history.open(kind):
            await _count(engine, header.run, asked, found)


async def _count(engine: Runs, run: str, asked: Scheduled, found: Needed) -> None:
    try:
        whole = await engine.services.store.whole(run, asked)
        facts = _SIGNERS[asked.kind](RunCodec(engine.services.secret, run), whole)
    except StuckError:
        found.unread += 1
        return
    if facts is not None:
        found.ids[facts.signer] += 1


def _of_approval(codec: RunCodec, asked: Scheduled) -> LinkFacts | None:
    if asked.args is None:
        return None
    shown: dict[str, Any] = codec.decode(asked.args, key=asked.key, purpose=Purpose.APPROVAL)
    recorded = shown.get("link")
    return None if recorded is None else msgspec.convert(recorded, LinkFacts)


def _of_callback(codec: RunCodec, asked: Scheduled) -> LinkFacts | None:
    return None if asked.args is None else asked_of(codec, asked.key, asked.args).link


_SIGNERS = {Kind.APPROVAL: _of_approval, Kind.CALLBACK: _of_callback}

"""`rewake replay --all`: every run of a database, fed to the code of today, in a line each."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rewake.app import App
from rewake.cli.exits import Exit, tell
from rewake.cli.replay.replaying import Replay, read_run, silenced
from rewake.errors import NonDeterminismError, RewakeError, RunNotFound
from rewake.hosts.databases import Address, open_to_read
from rewake.ledger import View
from rewake.records import Header
from rewake.signing.secret import Secret
from rewake.stores.history import History
from rewake.stores.reads import Reads
from rewake.views.runs import STATES

_PAGE = 500


class Verdict(NamedTuple):
    """What is said of one run: a word, more about it, and the exit code that it asks for."""

    word: str
    about: str
    exit: Exit


def replay_all(app: App, secret: Secret, db: Address, states: Sequence[str]) -> Exit:
    """Replay every run that is in one of these states; of any state, if none is given."""
    words: Counter[str] = Counter()
    worst = Exit.DONE
    for view in _views(db):
        try:
            header, history = read_run(db, secret, view.run)
        except RunNotFound:  # it was removed, or its start has died before it
            continue
        except RewakeError as error:
            state, verdict = "?", _unreadable(error)
        else:
            state = STATES[header.state]
            if states and state not in states:
                continue
            verdict = _verdict(app, secret, header, history)
        about = " ".join(verdict.about.split())
        print(f"{verdict.word:<10}  {view.run}  {view.workflow}  {state}  {about}".rstrip())
        words[verdict.word] += 1
        worst = max(worst, verdict.exit)
    counts = ", ".join(f"{count} {word}" for word, count in sorted(words.items()))
    tell(f"{words.total()} replayed: {counts}" if words else "there is no such run")
    return worst


def _views(db: Address) -> list[View]:
    """The views of all runs, oldest first; also of those that runs have begun."""
    while True:
        table, shelf, torn, _ = open_to_read(db)
        found = asyncio.run(_all_views(Reads(table, shelf)))
        if not torn():
            return found[::-1]


async def _all_views(reads: Reads) -> list[View]:
    found: dict[str, View] = {}
    cursor: str | None = None
    try:
        while True:
            page = await reads.views(limit=_PAGE, cursor=cursor, children=True)
            found |= {view.run: view for _, view in page.items}
            cursor = page.cursor
            if cursor is None:
                return list(found.values())
    finally:
        await reads.close()


def _verdict(app: App, secret: Secret, header: Header, history: History) -> Verdict:
    try:
        with silenced():
            tracer = Replay(app, secret, header, history).run(shown=False)
    except RunNotFound as error:
        return Verdict("differs", str(error), Exit.DIFFERS)
    except RewakeError as error:
        return _unreadable(error)
    if isinstance(tracer.error, NonDeterminismError):
        return Verdict("differs", str(tracer.error), Exit.DIFFERS)
    if tracer.error is not None:
        return _unreadable(tracer.error)
    if tracer.difference is not None:
        other = tracer.difference
        about = f"{other.key}: recorded {other.recorded}; asked {other.asked}"
        return Verdict("differs", about, Exit.DIFFERS)
    waits = ", ".join(tracer.waits_for)
    return Verdict("same", f"waits for {waits}" if waits else "", Exit.DONE)


def _unreadable(error: RewakeError) -> Verdict:
    return Verdict("unreadable", str(error), Exit.STUCK)

"""A run that takes the place of older ones of its singleton, which it cancels while it waits there.

It asks them to in an invocation of its own, before it is suspended. So whoever dies in between, the
next invocation of it does so. An older one may be there only afterwards, for it takes its place in
line before it is made: so each looks behind itself too before it begins, and gives way to a newer
one. Which is newer is told by the places in their headers, so that of two one gives way.
"""

from __future__ import annotations

from rewake.engine.logs.carrying import runs_log
from rewake.engine.services import Services
from rewake.errors import RunNotFound
from rewake.limited import Admission, LimitKind, Line, in_order
from rewake.records import Header
from rewake.states import TERMINAL, RunState

MOST = 1_000
"""The most waiting runs that a newer one of their singleton cancels."""
NEWER = "a newer run takes its place"


async def take_over(services: Services, header: Header, admission: Admission) -> None:
    """Ask the runs that came to its singleton before this one to cancel, each once; or itself, if
    one has come after it.
    """
    if not admission.takes_over:
        return
    for limit in in_order(admission.terms.limits, LimitKind.SINGLETON):
        own = _line_of(admission, limit.id) or _line_of(header.admission, limit.id)
        book = await services.store.limit(limit.id)
        if book is None or not (own or book.waits):
            continue
        places = await services.store.places(limit.id, MOST)
        newer = [who.run for key, who in places if own is None or key.sort > own.place]
        for run in dict.fromkeys(newer):
            found = await services.store.find(run)
            if run != header.run and found is not None and _comes_after(found, own, limit.id):
                await _cancel(services, await services.store.find(header.run))
                return
        mine = await services.store.find(header.run)
        if own is None or mine is None or mine.owner != header.owner:
            continue  # a turn that was overtaken may have queued up behind what has come since
        older = [each.run for each in book.holders]
        older += [who.run for key, who in places if key.sort < own.place]
        for run in dict.fromkeys(older):
            found = await services.store.find(run)
            # It may have been started once more, and an earlier place is left of it.
            if run != header.run and not (found and _comes_after(found, own, limit.id)):
                await _cancel(services, found)


def _line_of(admission: Admission | None, id: str) -> Line | None:
    """Where a run waits for this limit, if it does."""
    line = None if admission is None else admission.line
    return line if line is not None and line.id == id else None


def _comes_after(found: Header, own: Line | None, id: str) -> bool:
    """Whether a run waits behind this place (None: behind who holds it), and goes on."""
    line = _line_of(found.admission, id)
    behind = line is not None and (own is None or line.place > own.place)
    return behind and not found.cancels and found.state not in TERMINAL


async def _cancel(services: Services, found: Header | None) -> None:
    # Asking twice cancels the cleanup too; and that of a stuck run cannot run, so it stays.
    if found is None or found.cancels or found.state in TERMINAL or found.state is RunState.STUCK:
        return
    run = found.run
    try:
        asked = await services.store.cancel(run, NEWER, once=True)
    except RunNotFound:
        return
    runs_log.info("run %s of %s is asked to cancel: %s", run, asked.workflow, NEWER)
    if asked.state in (RunState.PARKED, RunState.READY):
        await services.wake(run)
    else:
        services.poke(run)

"""A run that takes the place of older ones of its singleton, which it cancels while it waits there.

It asks them to in an invocation of its own, before it is suspended. So whoever dies in between, the
next invocation of it does so.
"""

from __future__ import annotations

from rewake.engine.logs.carrying import runs_log
from rewake.engine.services import Services
from rewake.errors import RunNotFound
from rewake.limited import Admission, LimitKind, in_order
from rewake.records import Header
from rewake.states import TERMINAL, RunState

MOST = 1_000
"""The most waiting runs that a newer one of their singleton cancels."""
NEWER = "a newer run takes its place"


async def take_over(services: Services, header: Header, admission: Admission) -> None:
    """Ask the runs that came to its singleton before this one to cancel, each once."""
    line = admission.line
    singletons = in_order(admission.terms.limits, LimitKind.SINGLETON)
    if not admission.takes_over or line is None or line.id not in {s.id for s in singletons}:
        return
    book = await services.store.limit(line.id)
    older = [] if book is None else [each.run for each in book.holders]
    places = await services.store.places(line.id, MOST)
    older += [who.run for key, who in places if key.sort < line.place]
    for run in dict.fromkeys(older):
        if run != header.run:
            await _cancel(services, run)


async def _cancel(services: Services, run: str) -> None:
    found = await services.store.find(run)
    # Asking twice cancels the cleanup too; and that of a stuck run cannot run, so it stays.
    if found is None or found.cancels or found.state in TERMINAL or found.state is RunState.STUCK:
        return
    try:
        asked = await services.store.cancel(run, NEWER)
    except RunNotFound:
        return
    runs_log.info("run %s of %s is asked to cancel: %s", run, asked.workflow, NEWER)
    if asked.state in (RunState.PARKED, RunState.READY):
        await services.wake(run)
    else:
        services.poke(run)

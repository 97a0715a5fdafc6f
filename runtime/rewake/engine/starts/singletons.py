"""A run that takes the place of older ones of its singleton, which it cancels while it waits there.

It asks them to in an invocation of its own, before it is suspended. So whoever dies in between, the
next invocation of it does so. An older one may be there only afterwards, for it takes its place in
line before it is made: so each looks behind itself too before it begins, and gives way to a newer
one.

Which is newer is told by the places in their headers. A run that was made only after its place was
given away has none, and queues up anew: it writes that into its header first, and goes on only if
nobody has cancelled it until then; who cancels it afterwards has to have seen that (`mark`). So of
two one gives way.
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


async def take_over(services: Services, header: Header, admission: Admission) -> Header | None:
    """Ask the runs that came to its singleton before this one to cancel, each once; or itself, if
    one has come after it. Returns its header as it is now, None if it was overtaken.
    """
    if not admission.takes_over:
        return header
    for limit in in_order(admission.terms.limits, LimitKind.SINGLETON):
        place = _line_of(admission, limit.id)
        if place is not None and place != _line_of(header.admission, limit.id):
            noted = await services.store.note_admission(header, admission)
            if noted is None or noted.cancels:
                return noted
            header = noted
        while not await _settle(services, header, admission, limit.id):
            """Some of them have changed meanwhile."""
    return header


async def _settle(services: Services, header: Header, admission: Admission, id: str) -> bool:
    """Cancel who has to give way. False: one has changed since it was looked at."""
    own = _line_of(admission, id) or _line_of(header.admission, id)
    book = await services.store.limit(id)
    if book is None or not (own or book.waits):
        return True
    places = await services.store.places(id, MOST)
    newer = [who.run for key, who in places if own is None or key.sort > own.place]
    for run in dict.fromkeys(newer):
        found = await services.store.find(run)
        if run != header.run and found is not None and _takes_over(found, own, id):
            return await _cancel(services, await services.store.find(header.run))
    mine = await services.store.find(header.run)
    if own is None or mine is None or mine.owner != header.owner:
        return True  # a turn that was overtaken may have queued up behind what has come since
    older = [each.run for each in book.holders]
    older += [who.run for key, who in places if key.sort < own.place]
    settled = True
    for run in dict.fromkeys(older):
        found = await services.store.find(run)
        # It may have been started once more, and an earlier place is left of it.
        if run != header.run and not (found and _comes_after(found, own, id)):
            settled = await _cancel(services, found) and settled
    return settled


def _line_of(admission: Admission | None, id: str) -> Line | None:
    """Where a run waits for this limit, if it does."""
    line = None if admission is None else admission.line
    return line if line is not None and line.id == id else None


def _comes_after(found: Header, own: Line | None, id: str) -> bool:
    """Whether a run waits behind this place (None: behind who holds it), and goes on."""
    line = _line_of(found.admission, id)
    behind = line is not None and (own is None or line.place > own.place)
    return behind and not found.cancels and found.state not in TERMINAL


def _takes_over(found: Header, own: Line | None, id: str) -> bool:
    """Whether the same run takes this place: one that is retried waits, and takes nobody's."""
    new = found.admission is not None and found.admission.takes_over
    return new and _comes_after(found, own, id)


async def _cancel(services: Services, found: Header | None) -> bool:
    """Ask a run to cancel, if it is still as it was found. False: it is not, and goes on."""
    # Asking twice cancels the cleanup too; and that of a stuck run cannot run, so it stays.
    if found is None or found.cancels or found.state in TERMINAL or found.state is RunState.STUCK:
        return True
    run = found.run
    try:
        asked = await services.store.cancel(run, NEWER, once=True, mark=found.mark)
    except RunNotFound:
        return True
    if not asked.cancels:
        return asked.state in TERMINAL
    runs_log.info("run %s of %s is asked to cancel: %s", run, asked.workflow, NEWER)
    if asked.state in (RunState.PARKED, RunState.READY):
        await services.wake(run)
    else:
        services.poke(run)
    return True

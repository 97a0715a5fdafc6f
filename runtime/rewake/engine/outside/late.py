"""Runs that are late: a moment that one waits for has passed, and it has not observed that.

What happens is observed in the order of its moments. So whoever decides on a wait while a timer is
overdue that may close it (an `asyncio.timeout` around it) would be told that it counts, and the run
would then find that it came too late. Which timer is around which wait only the body knows. So the
run is let go on first, and the wait is looked at as it stands then.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.errors import NotYet
from rewake.records import Header, Millis
from rewake.states import RunState

_WAITS: tuple[Millis, ...] = (5, 20, 50, 100, 250, 500, 1_000, 2_000)
"""Milliseconds between looks at a run that is let go on."""


async def caught_up(services: Services, header: Header) -> Header:
    """The run, once it has observed what was due; at once, where this process carries none on.

    Raises `NotYet` if nobody can go on with it now.
    """
    if services.home is None or not services.carries_on():
        return header
    for wait in _WAITS:
        if not _is_late(header, services.clock.now()):
            return header
        await services.wake(header.run)
        await services.clock.sleep(wait)
        header = await services.store.header(header.run)
    raise NotYet(f"run {header.run!r} is late, and has not gone on yet; try again")


def _is_late(header: Header, now: Millis) -> bool:
    parked = header.state is RunState.PARKED
    return parked and header.wake is not None and header.wake <= now

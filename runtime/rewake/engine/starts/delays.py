"""Delayed starts: a run that is there at once, and begins at a moment that its starter named.

It is `DELAYED` from the write that makes it on, with one due time, and is woken as a run is whose
timer is due: by a timer in this process, by a message that a queue keeps, else by a sweep. The
clock of its history begins with the moment that was named, so its body sees that and no other.
A moment is a time of day, also one that a delay has come to: it stays if a clock is set back.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.errors import InvalidInput
from rewake.records import Header, Invocation, Millis
from rewake.states import RunState
from rewake.stores.keys import header_key
from rewake.stores.table import Due

LONGEST = 100 * 366 * 86_400
"""The longest delay of a start, in seconds."""


def begin_at(at: Millis | None, delay: float | None, now: Millis) -> Millis | None:
    """When a run is to begin; None: at once, also if that moment has passed.

    `delay`: seconds from now. Raises `InvalidInput`.
    """
    if at is not None and delay is not None:
        raise InvalidInput("give either at= or delay=, not both", field="delay")
    if delay is not None:
        if not 0 <= delay <= LONGEST:  # NaN is in no range
            told = f"a delay is a number of seconds from 0 to {LONGEST}"
            raise InvalidInput(told, field="delay")
        at = now + round(delay * 1000)
    if at is not None and at > now + LONGEST * 1000:
        raise InvalidInput("a run begins within 100 years", field="at")
    return at if at is not None and at > now else None


def delay(services: Services, header: Header, at: Millis) -> None:
    """Let a new run begin at this moment."""
    ahead = services.carries_on() and services.goes_ahead(at)
    header.state, header.gap, header.wake = RunState.DELAYED, 1, at
    header.sent = at if ahead else None
    header.due = at + services.settings.grace if ahead else at


async def arm(services: Services, run: str, at: Millis) -> None:
    """See to it that a run is woken in time, if that may be before the next sweep."""
    if not services.carries_on() or services.home is None:
        return
    if services.dispatcher.local and at <= services.clock.now() + services.settings.horizon:
        services.arm(Due(at, header_key(run)))
    elif services.goes_ahead(at):
        await services.dispatcher.dispatch([Invocation(run, not_before=at)])

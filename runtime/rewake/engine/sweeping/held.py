"""When a message that a process could not act on is of use again: while another has its work.

Who has it may die, and then a message that comes again brings its work to another process before
any sweep. So it is kept until the lease is over that it met, and until nothing is left to do.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.errors import RunNotFound
from rewake.records import Header, Invocation, Millis, Operation
from rewake.states import TERMINAL, RunState
from rewake.stores.paused import is_past, is_paused

SOON: Millis = 1_000
"""How long what could be begun by another process, or by this one in a moment, is left alone."""


async def held_until(services: Services, invocation: Invocation) -> Millis | None:
    """The moment from which on a message is of use again; None: nothing of it is left to do."""
    store, now = services.store, services.clock.now()
    try:
        header = await store.header(invocation.run)
    except RunNotFound:
        return None
    if not invocation.key:
        return _run_until(services, header, now)
    found = await store.operation(invocation.run, invocation.key)
    if header.state in TERMINAL or is_past(header, invocation.key):
        return None
    if is_paused(header):  # who resumes it sends another
        return None
    if found is None or found.round < invocation.round:
        return now + SOON
    if found.outcome is not None or found.round > invocation.round:
        return None
    if found.line is not None:
        return None  # who lets it in sends a message
    if found.owner:
        return _lease_over(services, found, now)
    # Whoever let it wait has sent a message for then.
    return None if (found.not_before or 0) > now else now + SOON


def _run_until(services: Services, header: Header, now: Millis) -> Millis | None:
    if header.state is RunState.RUNNING:
        return _lease_over(services, header, now)
    if header.state is RunState.READY or (header.state is RunState.PARKED and header.gap <= 0):
        return now + SOON
    return None


def _lease_over(services: Services, item: Header | Operation, now: Millis) -> Millis:
    settings = services.settings
    until = now + settings.lease if item.process else max(item.lease, now)
    return until + settings.skew + 1

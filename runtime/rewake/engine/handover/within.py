"""Work that must be over in time: on a host that ends a request, or an invocation, after a while.

Whoever takes a request says until when (`ending_at`), for all that is done in it.

What is not over then is handed over: its claim is released and the message is sent again, so that
another invocation begins at once. That is no death and no strike. But an attempt that has had the
whole of an invocation would have no more in the next one. It counts as lost, with the reason, so
that it is tried a few times and not for ever; a step that has had most of one likewise.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import msgspec

from rewake.engine.logs.carrying import until
from rewake.engine.process.heartbeats import LATE
from rewake.engine.process.work import LAST_WORDS
from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.records import Failure, Invocation, Millis

log = logging.getLogger("rewake.engine")

T = TypeVar("T")

REASON = LATE
"""Why it was lost: the type of its failure."""

_MOST = 500
_WHOLE = 100
"""How late a step, and an attempt at a task, may have begun to count as lost: milliseconds for each
second that there was. A step comes after others of its run. A task's message leads to nothing else,
but may have waited for room: what fits into an invocation must not fail for that.
"""


@contextmanager
def ending_at(moment: float) -> Iterator[None]:
    """Let what is done in the block be over at that time of the event loop."""
    before = until.set(moment)
    try:
        yield
    finally:
        until.reset(before)


def seconds_left() -> float | None:
    """How many seconds there are for what is done now; None: as many as it takes."""
    moment = until.get()
    return None if moment is None else max(0.0, moment - asyncio.get_running_loop().time())


async def done_within(
    services: Services, invocation: Invocation, work: Coroutine[Any, Any, T], seconds: float
) -> T | None:
    """Do the work of a message within so many seconds; None if another message goes on with it."""
    begun = services.clock.now()
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=max(0.0, seconds))
        if task.done():
            return task.result()
        again = await _given_up(services, invocation, begun, seconds)
    except asyncio.CancelledError:
        task.cancel()
        await asyncio.wait({task}, timeout=LAST_WORDS)
        raise
    task.cancel()
    await asyncio.wait({task}, timeout=LAST_WORDS)
    told = "%s of run %s is not over in the %g s that this host gives: it is handed over"
    log.warning(told, again.key or "a turn", again.run, seconds)
    await services.dispatcher.dispatch([again])
    return None


async def _given_up(
    services: Services, invocation: Invocation, begun: Millis, seconds: float
) -> Invocation:
    """Count as lost what has had its time; the message with which the work goes on."""
    run, here = invocation.run, (invocation.run, invocation.key)
    same = msgspec.structs.replace(invocation, sole=False, not_before=None)
    if here in services.queued:
        return same  # a turn of its run that is here is of another message
    owner, turn = services.attempts.get(here), services.turns.get(run)
    told = f"it was not over in the {seconds:g} s that its host gives"
    try:
        if owner is not None:
            await _attempt_given_up(services, here, owner, begun, seconds, told)
        elif turn is not None and any(
            step.attempt.began is not None and step.attempt.began - begun <= seconds * _MOST
            for name, step in turn.begun.items()
            if name in turn.steps
        ):
            services.heart.give_up(turn.owner)
            error = f"{REASON}: a step: {told}"
            await services.store.lose(run, turn.owner, services.clock.now(), error)
    except StoreError:
        log.warning("what is late could not be handed over; its lease runs out", exc_info=True)
    return Invocation(run) if turn is not None and owner is None else same


async def _attempt_given_up(
    services: Services, here: tuple[str, str], owner: str, begun: Millis, seconds: float, told: str
) -> None:
    """Give up an attempt at a task: it counts as lost, or it began late and is released."""
    began = services.beats.began(owner)
    await services.beats.keep(*here, owner)
    services.heart.give_up(owner)
    if began is not None and began - begun <= seconds * _WHOLE:
        await services.store.lose_task(*here, owner, services.clock.now(), Failure(REASON, told))
    else:
        await services.claims.release(*here, owner, 0)

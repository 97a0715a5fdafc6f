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

from rewake.dispatchers.routes import routed_tags
from rewake.engine.logs.carrying import Span, until
from rewake.engine.process.heartbeats import LATE
from rewake.engine.process.work import LAST_WORDS
from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.records import Failure, Invocation, Millis

log = logging.getLogger("rewake.engine")

T = TypeVar("T")

REASON = LATE
"""Why it was lost: the type of its failure."""

_MOST = 0.5
"""The share of its time that a step must have had to count as lost: it comes after others."""
_WHOLE = 0.9
"""The same of an attempt at a task that a message has brought. It may have waited for room, and
what fits into an invocation must not fail for that.
"""
_LAST_WORD = 1.0  # Seconds for what is written before the rest is cut off.


@contextmanager
def ending_at(moment: float) -> Iterator[None]:
    """Let what is done in the block be over at that time of the event loop."""
    before = until.set(Span(asyncio.get_running_loop().time(), moment))
    try:
        yield
    finally:
        until.reset(before)


def seconds_left() -> float | None:
    """How many seconds there are for what is done now; None: as many as it takes."""
    given = until.get()
    return None if given is None else max(0.0, given.over - asyncio.get_running_loop().time())


def done_in_time(
    services: Services, invocation: Invocation, work: Coroutine[Any, Any, T]
) -> Coroutine[Any, Any, T | None]:
    """Do what no message has brought, and no request waits for, in the time that there is.

    It ends a moment before, at which all that is left is cut off.
    """
    left = seconds_left()
    if left is None:
        return work
    return done_within(services, invocation, work, left - min(_LAST_WORD, left / 20), _MOST)


async def done_within(
    services: Services,
    invocation: Invocation,
    work: Coroutine[Any, Any, T],
    seconds: float,
    share: float = _WHOLE,
) -> T | None:
    """Do the work of a message within so many seconds; None if another message goes on with it.

    An attempt that has had less than this share of what its host gives is merely released.
    """
    begun = services.clock.now()
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=max(0.0, seconds))
        if task.done():
            return task.result()
        again = await _given_up(services, invocation, task, begun, seconds, share)
        await _cut_off(task)
    except asyncio.CancelledError:  # perhaps while it was being cut off
        await _cut_off(task)
        raise
    told = "%s of run %s is not over in the %g s that this host gives: it is handed over"
    log.warning(told, again.key or "a turn", again.run, _whole(seconds))
    if again.tag and again.tag not in routed_tags(services.dispatcher):
        await services.offer([again], sure=False)  # no message from here gets to who serves it
    else:
        await services.dispatcher.dispatch([again])
    return None


async def _cut_off(task: asyncio.Task[Any]) -> None:
    """Cancel it, but once: it must be able to release what it holds."""
    if not task.cancelling():
        task.cancel()
    await asyncio.wait({task}, timeout=LAST_WORDS)


async def _given_up(
    services: Services,
    invocation: Invocation,
    task: asyncio.Task[Any],
    begun: Millis,
    seconds: float,
    share: float,
) -> Invocation:
    """Count as lost what has had its time; the message with which the work goes on."""
    run, here = invocation.run, (invocation.run, invocation.key)
    same = msgspec.structs.replace(invocation, sole=False, not_before=None)
    if here in services.queued:
        return same
    owner, turn = services.attempts.get(here), services.turns.get(run)
    # Another message's, while this one waits for room or to be begun apart, is left alone.
    if turn is not None and turn.by is not task:
        turn = None
    if owner is not None and services.attempted_by.get(owner) is not task:
        owner = None
    try:
        if owner is not None:
            await _attempt_given_up(services, here, owner, task, _whole(seconds), share)
        elif turn is not None and any(
            step.attempt.began is not None and step.attempt.began - begun <= seconds * _MOST * 1000
            for name, step in turn.begun.items()
            if name in turn.steps
        ):
            services.heart.give_up(turn.owner)
            error = f"{REASON}: a step: {_told(seconds)}"
            with services.claims.making(run, "", turn.owner):  # else it is released as this rests
                await services.store.lose(run, turn.owner, services.clock.now(), error)
    except StoreError:
        log.warning("what is late could not be counted as lost", exc_info=True)
    return Invocation(run) if turn is not None and owner is None else same


async def _attempt_given_up(
    services: Services,
    here: tuple[str, str],
    owner: str,
    task: asyncio.Task[Any],
    whole: float,
    share: float,
) -> None:
    """Give up an attempt at a task: it counts as lost, or it began late and is released."""
    now, began = services.clock.now(), services.beats.began(owner)
    if began is None:  # first: else what is just being claimed would be once that is released
        await _cut_off(task)
        await services.claims.release(*here, owner, 0)
        return
    await services.beats.keep(*here, owner)
    services.heart.give_up(owner)
    if now - began >= min(whole * share, whole - 1) * 1000:
        with services.claims.making(*here, owner):
            await services.store.lose_task(*here, owner, now, Failure(REASON, _told(whole)))
    else:
        await services.claims.release(*here, owner, 0)


def _whole(seconds: float) -> float:
    """How many seconds the host gives, of which there were so many."""
    given = until.get()
    return seconds if given is None else max(seconds, given.over - given.begun)


def _told(seconds: float) -> str:
    return f"it was not over in the {seconds:g} s that its host gives"

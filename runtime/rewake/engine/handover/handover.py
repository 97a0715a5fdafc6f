"""Handing over what a process holds while its event loop is blocked: by writes from a thread.

The culprit is given up. An attempt at a task counts as lost; a run keeps the strike of its step,
which the next process tries again; a body, which does no I/O and would block that process as well,
makes its run stuck. All else is released: it is no death, and no strike.

The loop does nothing meanwhile, so what it holds can be read from outside. Should it go on after
all, it finds that it holds nothing any more, as after a take-over: it stops what it carries out,
and begins nothing for which a claim was under way.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable

from rewake.engine.handover.blocking import Block
from rewake.engine.services import Services
from rewake.errors import StoreError
from rewake.records import Failure

log = logging.getLogger("rewake.engine")

REASON = "blocked"
"""Why a culprit was lost: the type of its failure."""
AT_ONCE = 500
"""The most claims that are released together."""


async def hand_over(services: Services, block: Block | None, reason: str) -> None:
    """Give up the culprit, if there is one, and release all other claims of this process."""
    culprit = block.culprit if block is not None else ("", "")
    attempts, turns = services.attempts.copy(), services.turns.copy()
    store, at = services.store, services.clock.now()
    # Before others can have it, for the loop may go on, and a claim may be under way.
    for owner in [*attempts.values(), *(turn.owner for turn in turns.values())]:
        services.heart.give_up(owner)
    await asyncio.gather(*(services.beats.keep(*at, owner) for at, owner in attempts.items()))
    if culprit in attempts:
        failure = Failure(REASON, reason)
        await _tried(store.lose_task(*culprit, attempts.pop(culprit), at, failure))
    elif culprit[0] in turns:
        run, key = culprit
        owner, error = turns.pop(run).owner, f"{REASON}: {reason}"
        if key:
            await _tried(store.lose(run, owner, at, error))
        else:
            await _tried(store.give_up(run, owner, error))
            services.call_home(lambda: services.ended(run))
    held = [(run, key, owner) for (run, key), owner in attempts.items()]
    held += [(run, "", turn.owner) for run, turn in turns.items()]
    await services.claims.sweep(0)
    for first in range(0, len(held), AT_ONCE):
        part = held[first : first + AT_ONCE]
        await asyncio.gather(*(services.claims.release(*each, wait=0) for each in part))
    told = "handed over to other processes: %d runs and %d attempts at tasks"
    log.warning(told, len(turns), len(attempts))


async def _tried(write: Awaitable[object]) -> None:
    """Await a write. One that fails must not keep the others from being tried."""
    try:
        await write
    except StoreError:
        log.warning("a claim could not be handed over; its lease runs out", exc_info=True)

"""Deadlines of waits: only this module judges whether the time of a wait is over.

An outcome that was settled before the deadline counts, however late the run sees it. After the
deadline nothing else can be settled: the wait has ended in a timeout as of its deadline.

A wait may also end because nothing is heard of what it waits for. That is found out, not kept: what
is heard before it was found counts, since a machine that could not reach us was not silent.
The first silence is one of the moments at which the run wakes (`OpenOp.silent_at`). Once something
was heard, the wait's item says until when nothing need be (`lease`) and is due then, so that a beat
costs one write and wakes nobody. Both are settled on condition that nothing was heard meanwhile.
"""

from __future__ import annotations

from collections.abc import Mapping

from rewake.engine.services import Services
from rewake.kinds import OutcomeKind
from rewake.records import Failure, Millis, Operation, Outcome
from rewake.replay.operation import OpenOp
from rewake.stores.history import of_round


def timed_out(due: Millis | None, now: Millis) -> tuple[Outcome, Millis] | None:
    """The outcome of a wait whose deadline `due` has passed, and its time; None before that."""
    if due is None or due > now:
        return None
    return Outcome(OutcomeKind.TIMEOUT), due


def fell_silent(silent_at: Millis) -> tuple[Outcome, Millis]:
    """The outcome of a wait of which nothing was heard until `silent_at`, and its time.

    It has a failure, so that it wakes its run also where that waits for more.
    """
    failure = Failure("TimeoutError", "nothing was heard of it for too long: no heartbeat came")
    return Outcome(OutcomeKind.TIMEOUT, origin=failure), silent_at


async def end_silence(
    services: Services, run: str, op: OpenOp, silent_at: Millis, now: Millis
) -> Mapping[str, Operation]:
    """Settle a wait of which nothing was heard. If something was, its item is due for that."""
    blank = Operation(run, op.key, op.kind, op.name, op.round)
    found = of_round(await services.store.operation(run, op.key), op.round)
    if found is not None:
        found = await services.store.set_right(found)
        silent_at = max(silent_at, found.lease)
    if silent_at <= now:
        outcome, at = fell_silent(silent_at)
        _, found = await services.store.settle(blank, outcome, at, silent=now)
    if found is not None and found.outcome is not None:
        return {op.key: found}
    op.silence = None
    return {}

"""Attempts at steps that did not end: they are on record too, and keep their numbers.

A step that works costs no write of its own: its turn begins it, and one entry of the history
(`Stepped`) says how that ended. An attempt that did not end leaves no entry. Its record is a `Try`
in an item of the step, which has no other use:

1. A turn that ends without a park, in a process that lives, keeps what it has begun, with the
   moments that it knows, and then notes that it leaves nothing without a record
   (`Header.rest`). A park notes that too.
2. A claim that does not follow such a note follows the end of a process, or of its store. Nobody
   knows what that turn had begun: each open step that it can have begun counts as lost, before
   any is begun again.

So at most one attempt at a step has no record, and the next one takes the number after it: no log
is written over another. Of two turns that give out the same number, the second finds the item
changed, and knows that it was overtaken.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec

from rewake.engine.logs.carrying import carrying_out
from rewake.engine.services import Services, StepHere
from rewake.kinds import Kind
from rewake.noted import Try
from rewake.records import Failure, Header, Millis, Operation
from rewake.replay.execution import Execution
from rewake.replay.operation import OpenOp
from rewake.stores.operations import failed_try
from rewake.values.sealing import for_people

log = logging.getLogger("rewake.engine")


async def number_attempts(
    services: Services,
    header: Header,
    execution: Execution,
    known: Mapping[str, Operation],
    *,
    lost: bool,
    check: Callable[[], Awaitable[object]],
) -> None:
    """Let the attempts of a turn be numbered after all those before it.

    `known`: the items of steps that a replay has just read. `lost`: those of the turn before have
    no record, and count as lost now. `check` raises if this turn was overtaken meanwhile.
    """
    steps = [op for op in execution.open.values() if op.kind.traits.inline]
    for op in steps:
        if op.key in known:
            _go_on(op, known[op.key])
    for op in steps if lost else ():
        while not await _count_lost(services, header, op, execution.machine):
            await check()
    if lost and steps:
        await check()  # what was counted may be an attempt of who took this over meanwhile


async def number_anew(services: Services, header: Header, ready: Sequence[OpenOp]) -> None:
    """Let steps that a retried run asks for go on from the attempts of earlier rounds."""
    for op in ready if header.round else ():
        if op.number == 0:
            _go_on(op, await _item_of(services, header.run, op.key, op.name))


async def _count_lost(services: Services, header: Header, op: OpenOp, newest: Millis) -> bool:
    """Count the attempt that the turn before may have begun; False if the item has changed.

    `newest`: the machine's clock at the newest event of the run.
    """
    item = await _item_of(services, header.run, op.key, op.name)
    _go_on(op, item)
    over = _lost(header, op, item, services.clock.now(), newest)
    if over is None:
        return True
    if not await services.store.interrupt_step(item, over, counts=over.lost):
        return False
    op.number, op.lost = over.attempt, op.lost + over.lost
    if over.lost:
        _tell_loss(header.run, op, over)
    return True


def _tell_loss(run: str, op: OpenOp, over: Try) -> None:
    why = f" ({over.type}: {over.message})" if over.type else ""
    again = not op.work.at_most_once or op.attempts < op.work.policy.retries
    then = "another one begins" if again else "it is not begun again"
    told = "attempt %s at %s of run %s was lost with its process%s; %s"
    with carrying_out(run, op.key, over.attempt):
        log.warning(told, over.attempt, op.key, run, why, then)


async def _item_of(services: Services, run: str, key: str, name: str) -> Operation:
    found = await services.store.step(run, key)
    return found or Operation(run, key, Kind.STEP, name=name)


def _go_on(op: OpenOp, item: Operation) -> None:
    op.number, op.lost = max(op.number, item.number), item.lost


def _lost(header: Header, op: OpenOp, item: Operation, now: Millis, newest: Millis) -> Try | None:
    """The attempt at a step that the turn before may have begun; None if it cannot have."""
    lost = header.lost_turn
    if lost is not None and lost.attempt <= header.rest:
        lost = None  # what it had begun is on record
    ended = lost.ended if lost is not None and lost.ended is not None else now
    # A turn that ended before the newest event did so by a clock that was set back since.
    if op.not_before is not None and op.work.at_most_once:
        return None  # nothing has marked its next attempt yet
    if op.not_before is not None and newest <= ended < op.not_before:
        return None  # it waited for its next attempt
    began = max([op.asked_at, op.not_before or 0, *(each.ended or 0 for each in item.tries)])
    where = lost.where if lost is not None else ""
    over = Try(op.number + 1, min(began, ended), ended, where)
    over = msgspec.structs.replace(over, lost=lost is not None or bool(header.error))
    kind, _, message = for_people(header.error).partition(": ")
    return failed_try(over, Failure(kind, message) if kind else None)


async def keep_interrupted(
    services: Services, run: str, begun: Mapping[str, StepHere], *, withdrawn: bool
) -> None:
    """Keep the attempts at steps that this process has begun, and that will not end.

    `withdrawn`: the workflow has withdrawn the steps; else other attempts follow.
    """
    for key, step in begun.items():
        item = await _item_of(services, run, key, step.name)
        if item.number >= step.attempt.attempt:
            continue  # who took this over has counted it
        lost = step.once and not withdrawn  # nothing follows what runs at most once
        over = msgspec.structs.replace(step.attempt, ended=services.clock.now(), lost=lost)
        await services.store.interrupt_step(item, over, counts=lost or withdrawn)

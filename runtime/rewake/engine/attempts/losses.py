"""Attempts at tasks that are lost, as it is told: with their process, or since they fell silent."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from rewake.authoring.heartbeat import Silent, fell_silent
from rewake.authoring.policy import Policy, millis
from rewake.engine.handover.handover import REASON
from rewake.engine.handover.within import REASON as LATE
from rewake.engine.logs.carrying import carrying_out, in_words
from rewake.engine.services import Services
from rewake.records import Failure, Millis, Operation

log = logging.getLogger("rewake.engine")

SILENT = "silent"
"""Why it was lost: the type of its failure."""


def tell_loss(operation: Operation, last: bool) -> None:
    """Say that the attempt before this one ended with its process."""
    lost = operation.number - 1
    then = "there is no next one" if last else f"attempt {operation.number} begins"
    told = "attempt %d at %s of run %s was lost with its process; %s"
    with carrying_out(operation.run, operation.key, lost):
        log.warning(told, lost, operation.key, operation.run, then)


class Loss(NamedTuple):
    """An attempt that is lost. `at`: when another one begins, if one may; `told`: what it told."""

    failure: Failure
    at: Millis | None
    told: Mapping[str, Any]


def of_silence(
    services: Services,
    operation: Operation,
    owner: str,
    policy: Policy,
    elapsed: float,
    error: Silent,
) -> Loss:
    """Say that an attempt fell silent. What follows it, so long after the first one began."""
    now, most = services.clock.now(), services.settings.lost
    silent = services.beats.silent(operation, owner)
    chance = services.chance.random()
    wait = policy.after_silence(silent, most, elapsed=elapsed, chance=chance)
    at = None if wait is None else now + millis(wait)
    told = "attempt %s at %s of run %s fell silent and is given up: %s; %s"
    number, key, run = operation.number, operation.key, operation.run
    with carrying_out(run, key, number):
        log.warning(told, number, key, run, error, in_words(services.clock, at))
    if at is None:
        return Loss(fell_silent(error, silent, operation.attempts), None, {})
    failure = Failure(SILENT, str(error), attempts=operation.attempts)
    return Loss(failure, at, {**services.beats.changes(owner), "silent": silent})


def lost_with_processes(operation: Operation) -> Failure:
    """Why a task has failed of which too many attempts ended with their processes."""
    last = operation.failure
    known = last is not None and last.type in (REASON, LATE)
    reason = f"; the last: {last.message}" if last is not None and known else ""
    told = f"{operation.lost} attempts ended with their process, without an outcome{reason}"
    return Failure("lost", told, attempts=operation.attempts)

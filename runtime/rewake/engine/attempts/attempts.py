"""One invocation of a task: claim it, call the function once, deliver or release.

Tasks run at least once and have exactly one recorded outcome. The success of a late attempt is
taken while there is no outcome; a failure counts only from the current owner. If the outcome is
what a run is waiting for, the same process goes on with the run (`engine/turns/deliveries.py`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from functools import partial
from typing import Any, TypeVar

import msgspec

from rewake.authoring.attempt import NotBegun, attempt
from rewake.authoring.context import TaskContext
from rewake.authoring.heartbeat import Beats, Silent
from rewake.authoring.hints import return_hint
from rewake.authoring.marking import hidden_in
from rewake.authoring.middleware import AroundKind
from rewake.authoring.policy import millis
from rewake.dispatchers.dispatcher import needs_no_slot
from rewake.engine.attempts.calls import Call, call_of
from rewake.engine.attempts.losses import lost_with_processes, of_silence, tell_loss
from rewake.engine.attempts.stoppable import Body, Stopped
from rewake.engine.handover.within import done_in_time
from rewake.engine.limits.grants import Ended, PutOff
from rewake.engine.logs.carrying import About, carrying_out, warn_of_failure
from rewake.engine.logs.logs import AttemptLog
from rewake.engine.process.apart import Stay
from rewake.engine.process.heart import Hold
from rewake.engine.process.leases import PASSING, insist
from rewake.engine.process.shortages import shortage
from rewake.engine.services import Services
from rewake.engine.turns.bounds import check_size
from rewake.engine.turns.deliveries import Deliveries, owner_of
from rewake.errors import CheckpointUnreadable, ReadableElsewhere, RewakeError
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Failure, Invocation, Millis, Operation, Outcome, Value
from rewake.stores.answers import Delivery, Refused, TaskClaim
from rewake.stores.operations import blank_of, free_at, tries_of
from rewake.stores.suspects import is_condemned
from rewake.stores.table import Due
from rewake.values.failures import described, failure_of, said_of

log = logging.getLogger("rewake.engine")

T = TypeVar("T")


class Attempts:
    """Carries out invocations of tasks."""

    def __init__(self, services: Services, deliveries: Deliveries) -> None:
        self._services = services
        self._store = services.store
        self._deliveries = deliveries
        self._next: dict[tuple[str, str], tuple[Invocation, Millis]] = {}
        services.take = self._begin_in_slot

    async def handle(self, invocation: Invocation) -> bool:
        """Carry out one attempt, if the stored state says that one is needed.

        Returns whether the task has come to its end by it.
        """
        here = (invocation.run, invocation.key)
        if not await self._is_to_begin(here):
            return False
        await self._wait_for_slot(here, invocation)
        return await self._follow(self._attempt(here, invocation, needs_no_slot.get()))

    def _begin_in_slot(self, invocation: Invocation) -> None:
        work = done_in_time(self._services, invocation, self._take(invocation))
        self._services.work.begin(invocation.run, work)

    async def _take(self, invocation: Invocation) -> None:
        """The same as `handle`, in a slot that is reserved."""
        here, begins = (invocation.run, invocation.key), False
        try:
            begins = await self._is_to_begin(here)
        finally:
            if not begins:
                self._services.slots.release()
        if begins:
            await self._follow(self._attempt(here, invocation, lambda: None))

    async def _follow(self, attempt: Awaitable[Delivery | None]) -> bool:
        delivery = await attempt
        if delivery is not None:
            await self._deliveries.follow(delivery)
        return delivery is not None

    async def _is_to_begin(self, here: tuple[str, str]) -> bool:
        services = self._services
        if services.elsewhere.is_aside(*here):
            return False
        earlier = services.attempts.get(here)
        if earlier is not None:
            # This process carries it out, unless another has taken it over meanwhile.
            await services.heart.keeps(earlier)
        return earlier is None

    async def _attempt(
        self, here: tuple[str, str], invocation: Invocation, freed: Callable[[], object]
    ) -> Delivery | None:
        """Make one attempt in a slot that is taken, which is free again after it: that is told."""
        services = self._services
        try:
            found = await self._begin(here, invocation, None)
        finally:
            services.slots.release()
            freed()
        if not isinstance(found, Refused):
            return found
        async with services.apart.entering(*here, found.suspect) as stay:
            # Who is let in must not keep all others out while no slot is free: a sweep tries again.
            if stay is None or not await services.slots.take(services.settings.lease / 1000):
                return None
            try:
                again = await self._begin(here, invocation, stay)
            finally:
                services.slots.release()
        return None if isinstance(again, Refused) else again

    async def _begin(
        self, here: tuple[str, str], invocation: Invocation, stay: Stay | None
    ) -> Delivery | Refused | None:
        """Claim the task and carry it out; `Refused` if it is a suspect, and has no `stay`."""
        services = self._services
        if here in services.attempts:
            return None  # it was begun while this message waited for a slot
        claim = services.task_claim(invocation.run, invocation)
        if stay is not None:
            claim = msgspec.structs.replace(claim, apart=True)
        services.note_attempt(here, claim.owner)
        try:
            if invocation.terms.limits:
                return await self._begin_limited(claim, invocation, stay)
            return await self._begin_claimed(claim, invocation, stay)
        finally:
            await self._no_more(here, claim.owner)

    async def _begin_limited(
        self, claim: TaskClaim, invocation: Invocation, stay: Stay | None
    ) -> Delivery | Refused | None:
        """The same for a task that is limited, if it is let in; else its message ends."""
        limits = self._services.limits
        admitted = await limits.admit(invocation)
        if isinstance(admitted, Ended):
            blank = Operation(claim.run, claim.key, Kind.TASK, claim.name, claim.round)
            sole, joined = invocation.sole, invocation.joined
            return await self._deliver(blank, *admitted, sole=sole, joined=joined)
        if isinstance(admitted, PutOff):
            if admitted.at is not None:
                self._again(invocation, admitted.at)
            return None
        claim = msgspec.structs.replace(claim, seen=admitted.seen)
        found: Delivery | Refused | None = None
        try:
            found = await self._begin_claimed(claim, invocation, stay)
        finally:
            owner = found.owner if isinstance(found, Delivery) else ""
            with self._services.claims.making(claim.run, "", owner, errors=()):
                await limits.done(invocation, admitted.grants)
        return found

    async def _begin_claimed(
        self, claim: TaskClaim, invocation: Invocation, stay: Stay | None
    ) -> Delivery | Refused | None:
        found = await self._services.claims.task(claim)
        if isinstance(found, Refused):
            return found if found.suspect else await self._refused(found.operation, invocation)
        with _carrying(found.operation):
            if found.lost:
                tell_loss(found.operation, self._has_no_next(found.operation))
            return await self._held(found.operation, claim.owner, invocation, stay)

    async def _wait_for_slot(self, here: tuple[str, str], invocation: Invocation) -> None:
        """Take a slot. No look of this process offers again what waits for one."""
        slots, queued = self._services.slots, self._services.queued
        if slots.reserve(1):
            return
        first = here not in queued
        queued.setdefault(here, invocation.round)
        try:
            await slots.wait(invocation.terms.priority)
        finally:
            if first:
                del queued[here]

    async def _no_more(self, here: tuple[str, str], owner: str) -> None:
        """Note that this process carries the task out no more, so that it may be begun again.

        The message by which it is goes out only now: while it is noted, one that comes here is
        taken for one that came twice.
        """
        self._services.beats.end(owner)
        self._services.forget_attempt(here, owner)
        if (asked := self._next.pop(here, None)) is not None:
            await self._send_again(*asked)

    async def carry_out(self, invocation: Invocation, operation: Operation) -> None:
        """Carry out one attempt at a task that is claimed already, in a slot that is reserved."""
        here, owner = (operation.run, operation.key), operation.owner
        self._services.note_attempt(here, owner)
        try:
            with _carrying(operation):
                delivery = await self._held(operation, owner, invocation)
        finally:
            self._services.slots.release()
            await self._no_more(here, owner)
        if delivery is not None:
            await self._deliveries.follow(delivery)

    async def _held(
        self, operation: Operation, owner: str, invocation: Invocation, stay: Stay | None = None
    ) -> Delivery | None:
        services, body = self._services, Body()
        try:
            with services.heart.holding(self._hold(operation, owner, body, stay)):
                return await self._carry_out(operation, owner, invocation, body)
        except Stopped:
            await services.claims.absolve(operation.run, operation.key, owner)
            return None
        except asyncio.CancelledError:
            await services.beats.keep(operation.run, operation.key, owner)
            await services.claims.release(operation.run, operation.key, owner, 0)
            told = "attempt %d at %s of run %s is released: this process stops, another begins it"
            log.info(told, operation.number, operation.key, operation.run)
            raise
        except PASSING:
            log.warning("task %s could not be begun; it is retried", operation.key, exc_info=True)
            await services.claims.release(operation.run, operation.key, owner)
            return None
        except RewakeError:
            raise
        except Exception as error:
            return await self._unforeseen(operation, owner, error, invocation)

    async def _unforeseen(
        self, operation: Operation, owner: str, error: Exception, invocation: Invocation
    ) -> Delivery | None:
        """Fail the task: an error of the runtime's own is no death. A shortage passes."""
        services = self._services
        if short := shortage(error):
            log.warning("task %s is released: %s", operation.key, described(error))
            wait = services.shortages.meet(short)
            await services.claims.release(operation.run, operation.key, owner, wait)
            return None
        log.error("an attempt at %s failed", operation.key, exc_info=error)
        failure = failure_of(error, operation.attempts)
        return await self._fail(operation, owner, failure, invocation)

    async def _refused(self, operation: Operation, invocation: Invocation) -> Delivery | None:
        if operation.round < invocation.round:
            now, settings = self._services.clock.now(), self._services.settings
            free = free_at(operation, now, settings.lease, settings.skew)
            self._again(invocation, free)
            return None
        if operation.round > invocation.round:
            return None  # nobody waits for a round that is over
        if operation.outcome is not None:
            claim = self._services.claim_to_carry_on(operation.run)
            with self._services.claims.making(operation.run, "", owner_of(claim)):
                return await self._store.redeliver(operation, claim)
        if not operation.owner and (invocation.terms.limits or operation.not_before is not None):
            # Somebody may have put it off since this one was let in, whose places are given back.
            at = operation.not_before or self._services.clock.now()
            if invocation.tag:  # who serves that finds it by its due time alone
                await self._store.look_at(operation.run, operation.key, at)
            self._again(invocation, at)
        return None

    async def _carry_out(
        self, operation: Operation, owner: str, invocation: Invocation, body: Body
    ) -> Delivery | None:
        if self._has_no_next(operation):
            return await self._fail(operation, owner, lost_with_processes(operation), invocation)
        try:
            call = await call_of(self._services, operation, invocation)
        except ReadableElsewhere as error:
            return await self._put_back(operation, owner, invocation, error.reason)
        except CheckpointUnreadable as error:
            unreadable = failure_of(error, operation.attempts)
            return await self._fail(operation, owner, unreadable, invocation)
        if call is None:
            reason = f"this app has no task {invocation.name!r}"
            return await self._put_back(operation, owner, invocation, reason)
        # A claim that took long may be another's by now, or before the first beat.
        heart = self._services.heart
        if not (heart.is_sure(owner) or await heart.makes_sure(owner)):
            raise Stopped
        try:
            result = await self._run(call, operation, owner, body)
            value = await self._insist(partial(self._sealed, result, call, operation))
            check_size(operation.run, operation.key, value, self._services.settings.value)
        except (Stopped, asyncio.CancelledError, NotBegun):
            raise
        except Silent as error:
            return await self._silent(operation, owner, invocation, call, error)
        except BaseException as error:
            return await self._failed(operation, owner, invocation, call, error)
        ok, sole, joined = Outcome(OutcomeKind.OK, value=value), invocation.sole, invocation.joined
        return await self._deliver(operation, ok, sole=sole, joined=joined)

    async def _sealed(self, result: Any, call: Call, operation: Operation) -> Value:
        hint, key = return_hint(call.task.function), operation.key
        hidden, purpose = hidden_in(hint), Purpose.RESULT
        return call.codec.encode(result, key=key, purpose=purpose, hint=hint, hidden=hidden)

    async def _run(self, call: Call, operation: Operation, owner: str, body: Body) -> Any:
        body.check()
        services = self._services
        logs = AttemptLog(services.clock)
        run, key, reach = operation.run, operation.key, services.reach
        beats = Beats(call.before, asyncio.get_running_loop().time)
        services.beats.begin(operation, owner, beats)
        context = TaskContext(run, key, operation.number, logs, reach, beats=beats)
        policy, elapsed = call.task.policy, self._elapsed(operation)
        attempted = attempt(
            call.task.function,
            call.args,
            call.kwargs,
            timeout=policy.limit(elapsed),
            late=policy.late(elapsed, said_of(operation.failure)),
            silence=policy.silence,
            context=context,
            threads=services.threads.tasks,
            leave=body.leave,
        )
        attempted = services.around(AroundKind.TASK, context, call.task.name, attempted)
        services.logs.begin(context, logs)
        try:
            return await body.run(attempted, services.alone())
        finally:
            await services.logs.end(context, logs)

    def _has_no_next(self, operation: Operation) -> bool:
        """Whether so many of its attempts ended with their processes that none begins any more."""
        return is_condemned(operation, self._services.settings.lost)

    def _elapsed(self, operation: Operation) -> float:
        """Seconds since the first attempt began."""
        now = self._services.clock.now()
        return max(0, now - (operation.first or now)) / 1000

    # --- how an attempt ends ---------------------------------------------------------------

    async def _failed(
        self,
        operation: Operation,
        owner: str,
        invocation: Invocation,
        call: Call,
        error: BaseException,
    ) -> Delivery | None:
        """Retry, or deliver the failure. A retry waits without waking the run."""
        wait = call.task.policy.next(
            error,
            operation.attempts - operation.lost,
            elapsed=self._elapsed(operation),
            chance=self._services.chance.random(),
        )
        failure = failure_of(error, operation.attempts)
        clock = self._services.clock
        at = None if wait is None else clock.now() + millis(wait)
        warn_of_failure(_about(operation), failure, clock, at)
        if at is None:
            return await self._fail(operation, owner, failure, invocation)
        told = self._services.beats.changes(owner)
        await self._retry(operation, owner, invocation, failure, at, told)
        return None

    async def _silent(
        self, operation: Operation, owner: str, invocation: Invocation, call: Call, error: Silent
    ) -> Delivery | None:
        """Give up an attempt that fell silent: it is lost, and another one follows if one may."""
        elapsed, policy = self._elapsed(operation), call.task.policy
        failure, at, told = of_silence(self._services, operation, owner, policy, elapsed, error)
        if at is None:
            return await self._fail(operation, owner, failure, invocation)
        await self._retry(operation, owner, invocation, failure, at, told, lost=True)
        return None

    async def _retry(
        self,
        operation: Operation,
        owner: str,
        asked: Invocation,
        failure: Failure,
        at: Millis,
        told: Mapping[str, Any],
        *,
        lost: bool = False,
    ) -> None:
        """Let another attempt follow then. What this one has told is written with that."""
        run, key, services = operation.run, operation.key, self._services
        tries = tries_of(operation, services.clock.now(), failure, lost=lost)
        ahead = services.goes_ahead(at, asked.tag)
        due = at + services.settings.grace if ahead else at
        over: dict[str, Any] = {"failure": failure, "tries": tries, "args": asked.args}
        if await self._insist(
            lambda: self._store.retry_task(run, key, owner, at=at, due=due, told=told, **over)
        ):
            self._again(asked, at)

    async def _fail(
        self, operation: Operation, owner: str, failure: Failure, asked: Invocation
    ) -> Delivery:
        kind = OutcomeKind.TIMEOUT if failure.type == "TimeoutError" else OutcomeKind.ERROR
        outcome, joined, spared = Outcome(kind, origin=failure), asked.joined, asked.spared
        return await self._deliver(operation, outcome, owner=owner, joined=joined, spared=spared)

    async def _deliver(
        self,
        operation: Operation,
        outcome: Outcome,
        due: Millis | None = None,
        *,
        owner: str | None = None,
        **hints: bool,
    ) -> Delivery:
        services = self._services
        blank = blank_of(operation)
        if outcome.kind is not OutcomeKind.OK:
            blank.progress = services.beats.changes(owner or "").get("progress")
        # One owner for all tries: the first may have claimed the run although it seemed to fail.
        owned = services.unique()

        async def deliver() -> Delivery:
            claim, now = services.claim_to_carry_on(operation.run, owned), services.clock.now()
            return await self._store.deliver(
                blank, outcome, now, owner=owner, claim=claim, due=due, **hints
            )

        with services.claims.making(operation.run, "", owned, errors=()):
            return await self._insist(deliver)

    def _insist(self, write: Callable[[], Awaitable[T]]) -> Coroutine[Any, Any, T]:
        """Repeat a write until the store takes it, so that no end of an attempt is thrown away.

        The attempt keeps its lease, and its slot: no more is begun than can be written down.
        """
        clock, wait = self._services.clock, self._services.settings.sweep
        return insist(write, "what a task came to cannot be kept yet", clock, wait)

    async def _put_back(
        self, operation: Operation, owner: str, invocation: Invocation, reason: str
    ) -> Delivery | None:
        run, key = operation.run, operation.key
        at = self._services.elsewhere.put_back(run, key, reason)
        if await self._store.release_task(run, key, owner, at):
            self._again(invocation, at)
        return None

    def _again(self, invocation: Invocation, at: Millis) -> None:
        """Let the task be asked for again, for that moment, once nothing of this is under way."""
        self._next[invocation.run, invocation.key] = invocation, at

    async def _send_again(self, invocation: Invocation, at: Millis) -> None:
        services, run, key = self._services, invocation.run, invocation.key
        later = at > services.clock.now() + services.settings.horizon
        if invocation.tag and not services.goes_ahead(at, invocation.tag):
            if not later:
                services.arm(Due(at, self._store.layout.operation(run, key)))
            return
        if not invocation.tag and services.dispatcher.local and later:
            return  # the due index finds it in time, and needs no memory for it
        again = msgspec.structs.replace(invocation, not_before=at, sole=False)
        await services.dispatcher.dispatch([again])

    def _hold(self, operation: Operation, owner: str, body: Body, stay: Stay | None) -> Hold:
        services, run, key = self._services, operation.run, operation.key

        async def renew(process: str) -> bool:
            apart = stay is not None and stay.keep()
            now, lease = services.clock.now(), services.settings.lease
            kept = await self._store.renew_task(
                run, key, owner, now, lease, process=process, apart=apart
            )
            if stay is not None and kept and not apart:
                services.call_home(stay.leave)
            return kept

        async def look(_: Hold) -> bool:
            return await services.beats.look(run, key, owner)

        return Hold(owner, operation.lease, renew, look, body.stop, stay)


def _carrying(operation: Operation) -> carrying_out:
    return carrying_out(operation.run, operation.key, operation.number)


def _about(operation: Operation) -> About:
    return About(operation.run, operation.key, operation.number)

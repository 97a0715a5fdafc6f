"""Following a delivery: the run that got the outcome goes on, in this process or in another.

An outcome comes from an attempt at a task or from a decision. Its delivery has claimed the run for
this process, or has found that the run should wake, or that it must wait for more.
"""

from __future__ import annotations

import msgspec

from rewake.engine.services import Services
from rewake.engine.turns.deadlines import fell_silent
from rewake.engine.turns.turn import Turn
from rewake.records import Millis, Operation, Outcome
from rewake.stores.answers import Delivery, RunClaim
from rewake.stores.operations import blank_of


class Deliveries:
    """Goes on with runs to which outcomes were delivered."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def follow(self, delivery: Delivery) -> None:
        """Go on with the run if it was claimed; else wake it, or poke its turn in this process."""
        if delivery.header is None:
            return
        if delivery.claimed:
            run, owner = delivery.header.run, delivery.header.owner
            if run in self._services.turns:
                with self._services.claims.making(run, "", owner):
                    await self._services.end_overtaken_turn(run)
            await Turn(self._services, delivery.header).run(delivery.operation)
        elif delivery.wake:
            await self._services.wake(delivery.header.run)
        else:
            self._services.poke(delivery.header.run)

    async def fall_silent(self, operation: Operation) -> None:
        """End a wait of whose machine nothing was heard, unless something was after this look."""
        services = self._services
        claim = self._claim(operation.run)
        outcome, at = fell_silent(operation.lease)
        blank = blank_of(operation)
        with services.claims.making(operation.run, "", owner_of(claim)):
            delivery = await services.store.deliver(blank, outcome, at, claim=claim, silent=at)
        await self.follow(delivery)

    async def end_wait(
        self,
        blank: Operation,
        outcome: Outcome,
        at: Millis,
        *,
        carry_on: bool,
        guarded: bool = True,
        sole: bool = False,
        joined: bool = False,
        spared: bool = False,
    ) -> Delivery:
        """Deliver how a wait ended that somebody outside decides, and go on with its run.

        `blank`: its item, if there is none. With `carry_on=False` another process goes on with the
        run, within a sweep. Where this process would stand still, a message goes to another.
        `guarded`: the outcome has a due time of its own until it has arrived. `sole`, `joined` and
        `spared` are as in `Store.deliver`.
        """
        services, run = self._services, blank.run
        now, carry_on = services.clock.now(), carry_on and services.carries_on()
        here = carry_on and not services.settings.pauses
        due = now + services.settings.grace if carry_on else now
        claim = services.run_claim(run) if here else None
        if guarded:
            blank = msgspec.structs.replace(blank, due=due)
        with services.claims.making(run, "", owner_of(claim)):
            delivery = await services.store.deliver(
                blank,
                outcome,
                at,
                claim=claim,
                due=due if guarded else None,
                sole=sole,
                joined=joined,
                spared=spared,
            )
        if here:
            services.work.begin(run, self.follow(delivery))
        elif carry_on:
            await self.follow(delivery)
        return delivery

    async def repeat(self, operation: Operation) -> None:
        """Deliver a recorded outcome again: its run may never have heard of it."""
        services = self._services
        claim = self._claim(operation.run)
        with services.claims.making(operation.run, "", owner_of(claim)):
            delivery = await services.store.redeliver(operation, claim)
        await self.follow(delivery)

    def _claim(self, run: str) -> RunClaim | None:
        """To go on with a run at once. Where a process stands still, a message has it go on: what
        a sweep began would be cut off with that.
        """
        pauses = self._services.settings.pauses
        return None if pauses else self._services.claim_to_carry_on(run)


def owner_of(claim: RunClaim | None) -> str:
    """The name of a claim that may be made; empty if none is."""
    return "" if claim is None else claim.owner

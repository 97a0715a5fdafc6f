"""What follows a delivery: the run that something was delivered to goes on, here or elsewhere.

An outcome comes from an attempt at a task or from a decision. Its delivery may have claimed the
run for this process, may only have found that the run should wake, or that it must wait for more.
"""

from __future__ import annotations

from rewake.engine.services import Services
from rewake.engine.turn import Turn
from rewake.records import Operation
from rewake.stores.answers import Delivery


class Deliveries:
    """Sees to the runs that outcomes were delivered to."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def follow(self, delivery: Delivery) -> None:
        """Go on with the run if it was claimed; else wake it, or tell its turn in this process."""
        if delivery.header is None:
            return
        if delivery.claimed:
            await self._services.end_overtaken_turn(delivery.header.run)
            await Turn(self._services, delivery.header).run(delivery.operation)
        elif delivery.wake:
            await self._services.wake(delivery.header.run)
        else:
            self._services.poke(delivery.header.run)

    async def repeat(self, operation: Operation) -> None:
        """Deliver an outcome that is recorded: its run was perhaps never told."""
        services = self._services
        claim = services.run_claim(operation.run)
        await self.follow(await services.store.redeliver(operation, claim))

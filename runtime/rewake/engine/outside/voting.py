"""Voting: what a person says about an approval is counted, and decides it once it is enough.

`rewake.authoring.ballots` has the rules of what counts and what it comes to, and
`rewake.stores.votes` how it is kept. Here a voter reads what was said before, adds to it, and
writes it down, together with the outcome if it decides; whoever was overtaken begins again, so that
every vote was counted behind all that were there before it.
"""

from __future__ import annotations

from dataclasses import replace

import msgspec

from rewake.authoring.ballots import Ballot, Said, moment_of
from rewake.engine.services import Services
from rewake.engine.turns.deadlines import timed_out
from rewake.engine.turns.deliveries import Deliveries
from rewake.engine.turns.matters import Matter, Matters
from rewake.errors import RunConflict
from rewake.records import Millis, Value


class Voting:
    """Counts votes, by way of an engine (which need not be open)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._matters = Matters(services)
        self._deliveries = Deliveries(services)

    async def say(self, found: Matter, said: Said, *, principal: str, carry_on: bool) -> Ballot:
        """Count what a person says. Returns the ballot with it, also if just this was said before.

        `principal`: who sends it, as the server knows them.

        Raises:
            DecisionForbidden: they are not asked, or started the run and may not decide.
            InvalidInput: it can be handed on to no such person.
            RunConflict: decided already, out of time, or they said something else before.
        """
        store, clock, run = self._services.store, self._services.clock, found.run
        while True:
            late = timed_out(found.asked.due, clock.now())
            if found.outcome is not None:
                raise RunConflict(f"{found.asked.key!r} was decided already")
            if late is not None:
                after, outcome = await self._matters.late(found)
                await self._deliveries.end_wait(after, outcome, late[1], carry_on=carry_on)
                raise RunConflict(f"the time to decide on {found.asked.key!r} is over")
            values, ballot = await self._matters.counted(found)
            ballot.terms.check_person(said.approver, principal)
            said = msgspec.structs.replace(said, at=moment_of(now := clock.now()))
            if not ballot.takes(said):
                return ballot
            ballot.add(said)
            kept = await store.shelve(run, self._matters.encoded(found, said, now), found.asked.key)
            if await self._write(found, ballot, [*values, kept], now, carry_on=carry_on):
                return ballot
            item = (await store.operations(run, [found.asked.key])).get(found.asked.key)
            found = replace(found, item=item)

    async def _write(
        self, found: Matter, ballot: Ballot, votes: list[Value], now: Millis, *, carry_on: bool
    ) -> bool:
        """Write what was said, and the outcome if that decides. False: somebody was faster."""
        mark = "" if found.item is None else found.item.mark
        after = msgspec.structs.replace(found.blank(), votes=votes, mark=mark)
        if ballot.decision is None:
            return await self._services.store.vote(after)
        outcome = self._matters.outcome(found, ballot)
        delivery = await self._deliveries.end_wait(after, outcome, now, carry_on=carry_on)
        return delivery.won

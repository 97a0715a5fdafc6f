"""Voting: what a person says about an approval is counted, and decides it once it is enough.

`rewake.authoring.ballots` has the rules of what counts and what it comes to, and
`rewake.stores.votes` how it is kept. Here a voter reads what was said before, adds to it, and
writes it down, together with the outcome if it decides; whoever was overtaken begins again, so that
every vote was counted behind all that were there before it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from rewake.authoring.approval import Approval, Decision
from rewake.authoring.ballots import (
    Action,
    Ballot,
    Delegation,
    Said,
    Vote,
    moment_of,
    terms_of,
)
from rewake.authoring.linking import LinkFacts
from rewake.engine.deadlines import timed_out
from rewake.engine.deliveries import Deliveries
from rewake.engine.services import Services
from rewake.errors import RunConflict
from rewake.kinds import Kind, OutcomeKind, Purpose
from rewake.records import Millis, Operation, Outcome, Scheduled, Value
from rewake.stores.history import of_round
from rewake.values.run_codec import RunCodec

DECIDED = {Action.APPROVE: Decision.APPROVED, Action.REJECT: Decision.REJECTED}
"""What a vote is called that decides."""
ACTIONS = {decision: action for action, decision in DECIDED.items()}


@dataclass(frozen=True, slots=True)
class Matter:
    """An approval as it was found: what asks for it, what it was asked with, and its item."""

    run: str
    asked: Scheduled
    shown: dict[str, Any]
    item: Operation | None

    @property
    def outcome(self) -> Outcome | None:
        """Its outcome, if it has one."""
        item = of_round(self.item, self.asked.round)
        return None if item is None else item.outcome

    @property
    def first_round(self) -> int:
        """The round in which it was first asked for: a retry of the run may have opened it again.

        What was said since counts.
        """
        recorded = self.shown.get("link")
        return self.asked.round if recorded is None else _facts(recorded).round

    def blank(self) -> Operation:
        """Its item, if there is none."""
        asked = self.asked
        return Operation(self.run, asked.key, Kind.APPROVAL, asked.name, asked.round)


def _facts(recorded: Any) -> LinkFacts:
    return msgspec.convert(recorded, LinkFacts)


class _Kept(msgspec.Struct, frozen=True, omit_defaults=True):
    """What was said, as it is encoded. `id`: no other has it; `round`: see `Matter.first_round`."""

    id: str
    round: int
    at: Millis
    by: str | None
    action: Action | None = None
    value: Any = None
    comment: str | None = None
    to: str = ""

    def said(self) -> Said:
        at = moment_of(self.at)
        if self.action is None:
            return Delegation(self.by or "", self.to, self.comment, at)
        return Vote(self.by, self.action, self.value, self.comment, at)


def decided_by(ballot: Ballot) -> Approval:
    """The decision that the last vote has made."""
    last = ballot.votes[-1]
    return Approval(DECIDED[last.action], last.value, last.approver, last.comment, ballot.votes)


class Voting:
    """Counts votes, by way of an engine (which need not be open)."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._deliveries = Deliveries(services)

    async def ballot(self, found: Matter) -> Ballot:
        """What was said about an approval so far."""
        return await self._ballot(found, await self._kept(found))

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
                blank = found.blank()
                await self._deliveries.end_wait(blank, *late, carry_on=carry_on)
                raise RunConflict(f"the time to decide on {found.asked.key!r} is over")
            values = await self._kept(found)
            ballot = await self._ballot(found, values)
            ballot.terms.check_person(said.approver, principal)
            said = msgspec.structs.replace(said, at=moment_of(now := clock.now()))
            if not ballot.takes(said):
                return ballot
            ballot.add(said)
            kept = await store.shelve(run, self._encoded(found, said, now))
            if await self._write(found, ballot, [*values, kept], now, carry_on=carry_on):
                return ballot
            item = (await store.operations(run, [found.asked.key])).get(found.asked.key)
            found = Matter(run, found.asked, found.shown, item)

    async def _write(
        self, found: Matter, ballot: Ballot, votes: list[Value], now: Millis, *, carry_on: bool
    ) -> bool:
        """Write what was said, and the outcome if that decides. False: somebody was faster."""
        mark = "" if found.item is None else found.item.mark
        after = msgspec.structs.replace(found.blank(), votes=votes, mark=mark)
        if ballot.decision is None:
            return await self._services.store.vote(after)
        outcome = self._outcome(found, ballot)
        delivery = await self._deliveries.end_wait(after, outcome, now, carry_on=carry_on)
        return delivery.won

    async def _kept(self, found: Matter) -> list[Value]:
        """What was said of this approval, and not of another that was asked at its key."""
        if found.item is None:
            return []
        votes = found.item.votes
        whole = await self._services.store.said(found.run, votes)
        return [
            vote
            for vote, each in zip(votes, whole, strict=True)
            if self._decoded(found, each).round == found.first_round
        ]

    async def _ballot(self, found: Matter, votes: list[Value]) -> Ballot:
        whole = await self._services.store.said(found.run, votes)
        said = [self._decoded(found, each).said() for each in whole]
        return Ballot(terms_of(found.shown), said)

    # --- as data ---------------------------------------------------------------------------

    def _encoded(self, found: Matter, said: Said, now: Millis) -> Value:
        kept = _Kept(self._services.unique(), found.first_round, now, said.approver)
        if isinstance(said, Vote):
            kept = msgspec.structs.replace(kept, action=said.action, value=said.value)
        else:
            kept = msgspec.structs.replace(kept, to=said.delegate)
        kept = msgspec.structs.replace(kept, comment=said.comment)
        return self._as_value(found, msgspec.to_builtins(kept))

    def _decoded(self, found: Matter, value: Value) -> _Kept:
        codec = RunCodec(self._services.secret, found.run)
        told = codec.decode(value, key=found.asked.key, purpose=Purpose.APPROVAL)
        return msgspec.convert(told, _Kept)

    def _outcome(self, found: Matter, ballot: Ballot) -> Outcome:
        decided = msgspec.to_builtins(decided_by(ballot))
        return Outcome(OutcomeKind.OK, self._as_value(found, decided))

    def _as_value(self, found: Matter, told: Any) -> Value:
        codec = RunCodec(self._services.secret, found.run)
        return codec.encode(told, key=found.asked.key, purpose=Purpose.APPROVAL)
